/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "failing_calls.h"

#include <piommu/error.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_CALLS   4096u
#define MAX_DOMAINS 8u

/* What the core calls a domain, and what the mock does. */
struct failing_domain {
    const void *identity;
    void *handle;
};

struct failing_unit {
    struct failing_calls *calls;
    const struct piommu_backend *backend; /* of the mock */
    struct mock *mock;
    void *unit; /* of the mock */
    unsigned int number;
    struct failing_domain domains[MAX_DOMAINS];
    const void *last_domain;
    bool lost;
    bool stopped;                            /* and it has said so */
    bool asleep;                             /* it was stopped, whatever it has said */
    const struct failing_way *stop_for_ever; /* it never stops */
};

struct failing_calls {
    struct fake_os *os;
    struct piommu_os original;
    struct piommu_backend backends[2];
    struct failing_unit units[FAILING_MAX_UNITS];
    struct failing_unit *unit_pointers[FAILING_MAX_UNITS];
    const char *title;
    bool counting;
    const struct failure *failures;
    size_t failure_count;
    unsigned int failed;
    const struct failing_way *shim_for_ever;
    unsigned int count;
    struct failing_call seen[MAX_CALLS];
};

/*
 * The shim's callbacks get the fake OS and nothing else, so they have to find this. Tests that
 * use it have one thread.
 */
static struct failing_calls *current;

/* ---- The ways to fail ---- */

#define WAYS(array)                               \
    {                                             \
        array, sizeof(array) / sizeof((array)[0]) \
    }

static const struct failing_way shim_ways[] = {
    {-PIOMMU_ENOMEM, FAILING_UNDONE, false, true},
    {-PIOMMU_ENOMEM, FAILING_UNDONE, true, false},
};
static const struct failing_way probe_ways[] = {
    {-PIOMMU_ENODEV, FAILING_UNDONE, false, false},
    {-PIOMMU_EOPNOTSUPP, FAILING_UNDONE, false, false},
    {-PIOMMU_EBADMSG, FAILING_UNDONE, false, false},
    {-PIOMMU_ENOMEM, FAILING_UNDONE, false, false},
    {-PIOMMU_EIO, FAILING_UNDONE, false, true},
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, true},
};
static const struct failing_way remove_ways[] = {
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, true},
};
/* A unit may have stopped and not say so. */
static const struct failing_way stop_ways[] = {
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, true},
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, true, true},
    {-PIOMMU_ETIMEDOUT, FAILING_DONE, false, false},
};
static const struct failing_way add_endpoint_ways[] = {
    {-PIOMMU_ENOENT, FAILING_UNDONE, false, false},
    {-PIOMMU_EBADMSG, FAILING_UNDONE, false, false},
    {-PIOMMU_ENOMEM, FAILING_UNDONE, false, false},
    {-PIOMMU_EIO, FAILING_UNDONE, false, true},
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, true},
    {-PIOMMU_EFAILED, FAILING_UNDONE, false, false},
};
static const struct failing_way domain_create_ways[] = {
    {-PIOMMU_ENOMEM, FAILING_UNDONE, false, false},
    {-PIOMMU_EOPNOTSUPP, FAILING_UNDONE, false, false},
    {-PIOMMU_ENOSPC, FAILING_UNDONE, false, true},
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, true},
    {-PIOMMU_EFAILED, FAILING_UNDONE, false, false},
};
static const struct failing_way attach_ways[] = {
    {-PIOMMU_ENOENT, FAILING_UNDONE, false, false},
    {-PIOMMU_ENOMEM, FAILING_UNDONE, false, false},
    {-PIOMMU_ENOSPC, FAILING_UNDONE, false, false},
    {-PIOMMU_EOPNOTSUPP, FAILING_HALF_DONE, false, false},
    {-PIOMMU_EIO, FAILING_UNDONE, false, true},
    {-PIOMMU_EIO, FAILING_HALF_DONE, false, false},
    {-PIOMMU_EIO, FAILING_DONE, false, false},
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, false},
    {-PIOMMU_ETIMEDOUT, FAILING_DONE, false, true},
    {-PIOMMU_EFAILED, FAILING_HALF_DONE, false, false},
};
/* A failure of these is the end of the instance, whatever the error. */
static const struct failing_way block_ways[] = {
    {-PIOMMU_EIO, FAILING_UNDONE, false, true},
    {-PIOMMU_EIO, FAILING_DONE, false, false},
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, false},
    {-PIOMMU_ETIMEDOUT, FAILING_DONE, false, true},
    {-PIOMMU_EFAILED, FAILING_UNDONE, false, false},
};
static const struct failing_way map_ways[] = {
    {-PIOMMU_ENOMEM, FAILING_UNDONE, false, false},
    {-PIOMMU_ENOMEM, FAILING_DONE, false, false},
    {-PIOMMU_EIO, FAILING_UNDONE, false, false},
    {-PIOMMU_EIO, FAILING_HALF_DONE, false, true},
    {-PIOMMU_EIO, FAILING_DONE, false, false},
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, false},
    {-PIOMMU_ETIMEDOUT, FAILING_HALF_DONE, false, false},
    {-PIOMMU_ETIMEDOUT, FAILING_DONE, false, true},
    {-PIOMMU_EFAILED, FAILING_UNDONE, false, false},
};
static const struct failing_way unmap_ways[] = {
    {-PIOMMU_ENOMEM, FAILING_UNDONE, false, false},
    {-PIOMMU_EIO, FAILING_UNDONE, false, true},
    {-PIOMMU_EIO, FAILING_HALF_DONE, false, false},
    {-PIOMMU_EIO, FAILING_DONE, false, false},
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, false},
    {-PIOMMU_ETIMEDOUT, FAILING_HALF_DONE, false, true},
    {-PIOMMU_ETIMEDOUT, FAILING_DONE, false, false},
    {-PIOMMU_EFAILED, FAILING_UNDONE, false, false},
};
static const struct failing_way service_ways[] = {
    {-PIOMMU_EIO, FAILING_UNDONE, false, true},
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, false},
    {-PIOMMU_EFAILED, FAILING_UNDONE, false, false},
};
/* Never the end of the instance: the core asks for `block` instead. */
static const struct failing_way block_now_ways[] = {
    {-PIOMMU_EIO, FAILING_UNDONE, false, true},
    {-PIOMMU_EIO, FAILING_DONE, false, false},
};
static const struct failing_way suspend_ways[] = {
    {-PIOMMU_ETIMEDOUT, FAILING_UNDONE, false, true},
    {-PIOMMU_EFAILED, FAILING_UNDONE, false, false},
};

/* One that the library knows, and one that it does not. */
static const struct failing_way callback_ways[] = {
    {-PIOMMU_ENODEV, FAILING_UNDONE, false, true},
    {-7777, FAILING_UNDONE, false, false},
};

static const struct {
    const char *name;
    struct {
        const struct failing_way *ways;
        size_t count;
    } ways;
    bool failure_loses_unit; /* whatever the error is */
} functions[FAILING_FUNCTIONS] = {
    [FAILING_ALLOC] = {"alloc", WAYS(shim_ways), false},
    [FAILING_DMA_ALLOC] = {"dma_alloc", WAYS(shim_ways), false},
    [FAILING_LOCK_CREATE] = {"lock_create", WAYS(shim_ways), false},
    [FAILING_PROBE] = {"probe", WAYS(probe_ways), false},
    [FAILING_REMOVE] = {"remove", WAYS(remove_ways), false},
    [FAILING_STOP] = {"stop", WAYS(stop_ways), false},
    [FAILING_ADD_ENDPOINT] = {"add_endpoint", WAYS(add_endpoint_ways), false},
    [FAILING_DOMAIN_CREATE] = {"domain_create", WAYS(domain_create_ways), false},
    [FAILING_ATTACH] = {"attach", WAYS(attach_ways), false},
    [FAILING_BLOCK] = {"block", WAYS(block_ways), true},
    [FAILING_MAP] = {"map", WAYS(map_ways), false},
    [FAILING_UNMAP] = {"unmap", WAYS(unmap_ways), true},
    [FAILING_INVALIDATE] = {"invalidate", WAYS(block_ways), true},
    [FAILING_SERVICE] = {"service", WAYS(service_ways), true},
    [FAILING_BLOCK_NOW] = {"block_now", WAYS(block_now_ways), false},
    [FAILING_SUSPEND] = {"suspend", WAYS(suspend_ways), false},
    [FAILING_RESUME] = {"resume", WAYS(block_ways), true},
    [FAILING_CALLBACK] = {"the callback", WAYS(callback_ways), false},
};

const struct failing_way *failing_calls_ways(enum failing_function function, size_t *count)
{
    *count = functions[function].ways.count;
    return functions[function].ways.ways;
}

bool failing_calls_loses_unit(enum failing_function function, const struct failing_way *way)
{
    if (function == FAILING_PROBE || function == FAILING_REMOVE || function == FAILING_STOP) {
        return false; /* there is no instance that could fail, or it has failed already */
    }
    return functions[function].failure_loses_unit || way->error == -PIOMMU_ETIMEDOUT ||
           way->error == -PIOMMU_EFAILED;
}

const char *failing_calls_name(enum failing_function function)
{
    return functions[function].name;
}

/* ---- Numbering ---- */

/* Counts a call. NULL: it goes through. */
static const struct failing_way *count_call(struct failing_calls *calls,
                                            enum failing_function function, unsigned int unit)
{
    const bool shim = function <= FAILING_LOCK_CREATE;

    if (!calls->counting) {
        return NULL;
    }
    assert_true(calls->count < MAX_CALLS);
    calls->seen[calls->count++] = (struct failing_call){function, unit};
    if (calls->failed < calls->failure_count &&
        calls->failures[calls->failed].call == calls->count) {
        const struct failing_way *way = calls->failures[calls->failed++].way;

        if (way->for_ever && shim) {
            calls->shim_for_ever = way;
        }
        return way;
    }
    return shim ? calls->shim_for_ever : NULL;
}

int failing_calls_callback(struct failing_calls *calls)
{
    const struct failing_way *way = count_call(calls, FAILING_CALLBACK, 0);

    return way != NULL ? way->error : 0;
}

static bool error_loses_unit(enum failing_function function, int error)
{
    const struct failing_way way = {.error = error};

    return error < 0 && failing_calls_loses_unit(function, &way);
}

/* The same of a unit: one that is lost hears of nothing that would need its obedience. */
static const struct failing_way *count_unit_call(struct failing_unit *self,
                                                 enum failing_function function)
{
    const struct failing_way *way;

    if (self->lost && function != FAILING_STOP && function != FAILING_REMOVE &&
        function != FAILING_SERVICE && function != FAILING_BLOCK_NOW) {
        fail_msg("%s: %s of unit %u, which has failed",
                 self->calls->title != NULL ? self->calls->title : "", functions[function].name,
                 self->number);
    }
    way = count_call(self->calls, function, self->number);
    if (way != NULL && failing_calls_loses_unit(function, way)) {
        self->lost = true;
    }
    return way;
}

/* What a call returns: the mock may have been told to fail, too. */
static int answer(struct failing_unit *self, enum failing_function function,
                  const struct failing_way *way, int error)
{
    if (way != NULL) {
        return way->error;
    }
    if (error_loses_unit(function, error)) {
        self->lost = true;
    }
    return error;
}

/* ---- The shim ---- */

static void *failing_alloc(void *ctx, size_t size)
{
    if (count_call(current, FAILING_ALLOC, 0) != NULL) {
        return NULL;
    }
    return current->original.alloc(ctx, size);
}

static void *failing_dma_alloc(void *ctx, const struct piommu_dma_request *request,
                               uint64_t *physical)
{
    if (count_call(current, FAILING_DMA_ALLOC, 0) != NULL) {
        return NULL;
    }
    return current->original.dma_alloc(ctx, request, physical);
}

static void *failing_lock_create(void *ctx)
{
    if (count_call(current, FAILING_LOCK_CREATE, 0) != NULL) {
        return NULL;
    }
    return current->original.lock_create(ctx);
}

/* ---- The backend ---- */

static int failing_probe(struct piommu_host host, struct piommu_instance *instance,
                         const struct piommu_instance_config *config, const void *backend_config,
                         void *parent, void **unit, struct piommu_backend_info *info)
{
    struct failing_unit *self = *(struct failing_unit *const *)backend_config;
    const struct failing_way *way = count_unit_call(self, FAILING_PROBE);
    int error;

    if (way != NULL) {
        return way->error;
    }
    error = self->backend->probe(host, instance, config, &self->mock,
                                 parent != NULL ? ((struct failing_unit *)parent)->unit : NULL,
                                 &self->unit, info);
    if (error == 0) {
        *unit = self;
    }
    return error;
}

static int failing_remove(void *unit)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_REMOVE);
    int error;

    if (way != NULL) {
        return way->error;
    }
    error = self->backend->remove(self->unit);
    if (error == 0) {
        self->lost = false;
        self->stopped = false;
        self->asleep = false;
    }
    return error;
}

static int failing_stop(void *unit)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_STOP);
    int error = 0;

    if (way != NULL && way->for_ever) {
        self->stop_for_ever = way;
    } else if (way == NULL && self->calls->counting) {
        way = self->stop_for_ever;
    }
    if ((way == NULL || way->effect == FAILING_DONE) && !self->asleep) {
        error = self->backend->stop(self->unit);
        self->asleep = error == 0;
    }
    if (way != NULL) {
        return way->error;
    }
    self->stopped = error == 0;
    return error;
}

static int failing_add_endpoint(void *unit, uint32_t id, struct piommu_endpoint_facts *facts,
                                void **endpoint)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_ADD_ENDPOINT);
    int error = 0;

    if (way == NULL) {
        error = self->backend->add_endpoint(self->unit, id, facts, endpoint);
    }
    return answer(self, FAILING_ADD_ENDPOINT, way, error);
}

static void failing_release_endpoint(void *unit, void *endpoint)
{
    struct failing_unit *self = unit;

    self->backend->release_endpoint(self->unit, endpoint);
}

static struct failing_domain *find_domain(struct failing_unit *self, const void *handle)
{
    for (unsigned int i = 0; i < MAX_DOMAINS; i++) {
        if (self->domains[i].handle == handle) {
            return &self->domains[i];
        }
    }
    fail_msg("unit %u has no such domain, or too many", self->number);
    return NULL;
}

static int failing_domain_create(void *unit, const struct piommu_backend_domain *domain,
                                 void **handle)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_DOMAIN_CREATE);
    int error = 0;

    if (way == NULL) {
        error = self->backend->domain_create(self->unit, domain, handle);
        if (error == 0) {
            *find_domain(self, NULL) = (struct failing_domain){domain->identity, *handle};
        }
    }
    return answer(self, FAILING_DOMAIN_CREATE, way, error);
}

static int failing_domain_destroy(void *unit, void *domain)
{
    struct failing_unit *self = unit;

    find_domain(self, domain)->handle = NULL;
    return self->backend->domain_destroy(self->unit, domain);
}

static int failing_attach(void *unit, void *endpoint, void *domain)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_ATTACH);
    int error = 0;

    if (way != NULL && way->effect == FAILING_HALF_DONE) {
        error = self->backend->block(self->unit, endpoint);
    } else if (way == NULL || way->effect == FAILING_DONE) {
        error = self->backend->attach(self->unit, endpoint, domain);
        self->last_domain = find_domain(self, domain)->identity;
    }
    return answer(self, FAILING_ATTACH, way, error);
}

static int failing_block(void *unit, void *endpoint)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_BLOCK);
    int error = 0;

    if (way == NULL || way->effect == FAILING_DONE) {
        error = self->backend->block(self->unit, endpoint);
    }
    return answer(self, FAILING_BLOCK, way, error);
}

/* Passes the first mapping on. */
struct first_mapping {
    struct piommu_mapping_source source;
    struct piommu_mapping_source *all;
    bool over;
};

static bool next_first_mapping(struct piommu_mapping_source *source,
                               struct piommu_backend_mapping *mapping)
{
    struct first_mapping *first = (struct first_mapping *)source;

    if (first->over) {
        return false;
    }
    first->over = true;
    return first->all->next(first->all, mapping);
}

static int failing_map(void *unit, void *domain, struct piommu_mapping_source *source)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_MAP);
    struct first_mapping first = {{next_first_mapping}, source, false};
    int error = 0;

    if (way != NULL && way->effect == FAILING_HALF_DONE) {
        error = self->backend->map(self->unit, domain, &first.source);
    } else if (way == NULL || way->effect == FAILING_DONE) {
        error = self->backend->map(self->unit, domain, source);
    }
    return answer(self, FAILING_MAP, way, error);
}

/* Passes the first range on. */
struct first_range {
    struct piommu_range_source source;
    struct piommu_range_source *all;
    bool over;
};

static bool next_first_range(struct piommu_range_source *source, struct piommu_range *range)
{
    struct first_range *first = (struct first_range *)source;

    if (first->over) {
        return false;
    }
    first->over = true;
    return first->all->next(first->all, range);
}

static int failing_unmap(void *unit, void *domain, struct piommu_range_source *source)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_UNMAP);
    struct first_range first = {{next_first_range}, source, false};
    int error = 0;

    if (way != NULL && way->effect == FAILING_HALF_DONE) {
        error = self->backend->unmap(self->unit, domain, &first.source);
    } else if (way == NULL || way->effect == FAILING_DONE) {
        error = self->backend->unmap(self->unit, domain, source);
    }
    return answer(self, FAILING_UNMAP, way, error);
}

static int failing_invalidate(void *unit, void *domain, struct piommu_range range, bool tables)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_INVALIDATE);
    int error = 0;

    if (way == NULL || way->effect == FAILING_DONE) {
        error = self->backend->invalidate(self->unit, domain, range, tables);
    }
    return answer(self, FAILING_INVALIDATE, way, error);
}

static int failing_service(void *unit, unsigned int budget)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_SERVICE);

    return answer(self, FAILING_SERVICE, way,
                  way == NULL ? self->backend->service(self->unit, budget) : 0);
}

static int failing_block_now(void *unit, void *endpoint)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_BLOCK_NOW);
    int error = 0;

    if (way == NULL || way->effect == FAILING_DONE) {
        error = self->backend->block_now(self->unit, endpoint);
    }
    return answer(self, FAILING_BLOCK_NOW, way, error);
}

static int failing_suspend(void *unit)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_SUSPEND);

    return answer(self, FAILING_SUSPEND, way, way == NULL ? self->backend->suspend(self->unit) : 0);
}

static int failing_resume(void *unit)
{
    struct failing_unit *self = unit;
    const struct failing_way *way = count_unit_call(self, FAILING_RESUME);
    int error = 0;

    if (way == NULL || way->effect == FAILING_DONE) {
        error = self->backend->resume(self->unit);
    }
    return answer(self, FAILING_RESUME, way, error);
}

static void wrap_backend(struct piommu_backend *wrapped, const struct piommu_backend *backend)
{
    *wrapped = *backend;
    wrapped->probe = failing_probe;
    wrapped->remove = failing_remove;
    wrapped->stop = failing_stop;
    wrapped->add_endpoint = failing_add_endpoint;
    wrapped->release_endpoint = failing_release_endpoint;
    wrapped->domain_create = failing_domain_create;
    wrapped->domain_destroy = failing_domain_destroy;
    wrapped->attach = failing_attach;
    wrapped->block = failing_block;
    wrapped->map = backend->map != NULL ? failing_map : NULL;
    wrapped->unmap = backend->unmap != NULL ? failing_unmap : NULL;
    wrapped->invalidate = backend->invalidate != NULL ? failing_invalidate : NULL;
    wrapped->service = failing_service;
    wrapped->block_now = backend->block_now != NULL ? failing_block_now : NULL;
    wrapped->suspend = backend->suspend != NULL ? failing_suspend : NULL;
    wrapped->resume = backend->resume != NULL ? failing_resume : NULL;
}

/* ---- For the test ---- */

struct failing_calls *failing_calls_create(struct fake_os *os)
{
    struct failing_calls *calls = calloc(1, sizeof(*calls));
    struct piommu_os *callbacks = fake_os_callbacks(os);

    calls->os = os;
    calls->original = *callbacks;
    callbacks->alloc = failing_alloc;
    callbacks->dma_alloc = failing_dma_alloc;
    callbacks->lock_create = failing_lock_create;
    for (unsigned int i = 0; i < FAILING_MAX_UNITS; i++) {
        calls->unit_pointers[i] = &calls->units[i];
    }
    current = calls;
    return calls;
}

void failing_calls_destroy(struct failing_calls *calls)
{
    struct piommu_os *callbacks = fake_os_callbacks(calls->os);

    callbacks->alloc = calls->original.alloc;
    callbacks->dma_alloc = calls->original.dma_alloc;
    callbacks->lock_create = calls->original.lock_create;
    current = NULL;
    free(calls);
}

const struct piommu_backend *failing_calls_backend(struct failing_calls *calls,
                                                   enum piommu_backend_kind kind)
{
    return &calls->backends[kind == PIOMMU_BACKEND_TABLES ? 0 : 1];
}

const void *failing_calls_unit(struct failing_calls *calls, unsigned int number, struct mock *mock)
{
    const struct piommu_backend *backend = mock_backend(mock);

    calls->units[number] =
        (struct failing_unit){.calls = calls, .backend = backend, .mock = mock, .number = number};
    wrap_backend(&calls->backends[backend->kind == PIOMMU_BACKEND_TABLES ? 0 : 1], backend);
    return &calls->unit_pointers[number];
}

void failing_calls_begin(struct failing_calls *calls, const struct failure *failures, size_t count)
{
    for (unsigned int i = 0; i < FAILING_MAX_UNITS; i++) {
        calls->units[i].stop_for_ever = NULL;
    }
    calls->counting = true;
    calls->failures = failures;
    calls->failure_count = count;
    calls->failed = 0;
    calls->shim_for_ever = NULL;
    calls->count = 0;
}

void failing_calls_set_title(struct failing_calls *calls, const char *title)
{
    calls->title = title;
}

void failing_calls_end(struct failing_calls *calls)
{
    calls->counting = false;
}

unsigned int failing_calls_count(const struct failing_calls *calls)
{
    return calls->count;
}

const struct failing_call *failing_calls_at(const struct failing_calls *calls, unsigned int number)
{
    assert_true(number >= 1 && number <= calls->count);
    return &calls->seen[number - 1];
}

unsigned int failing_calls_failed(const struct failing_calls *calls)
{
    return calls->failed;
}

const void *failing_calls_last_domain(const struct failing_calls *calls, unsigned int unit)
{
    return calls->units[unit].last_domain;
}

bool failing_calls_is_lost(const struct failing_calls *calls, unsigned int unit)
{
    return calls->units[unit].lost;
}

bool failing_calls_is_stopped(const struct failing_calls *calls, unsigned int unit)
{
    return calls->units[unit].stopped;
}
