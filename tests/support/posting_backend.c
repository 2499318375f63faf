/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "posting_backend.h"

#include <piommu/error.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The core knows the mocks. */
static struct posting_unit *units[POSTING_MAX_UNITS];
static struct fake_os *os;

static uint64_t now(void)
{
    struct piommu_host host = fake_os_host(os);

    return host.os->now(host.ctx);
}

static struct posting_unit *unit_of(const void *handle)
{
    for (unsigned int i = 0; i < POSTING_MAX_UNITS; i++) {
        if (units[i] != NULL && units[i]->mock == handle) {
            return units[i];
        }
    }
    fail_msg("a unit that does not exist");
    return NULL;
}

static bool has(const struct posting_unit *unit, const struct piommu_completion *completion)
{
    for (unsigned int i = 0; i < unit->count; i++) {
        if (unit->requests[i].completion == completion) {
            return true;
        }
    }
    for (unsigned int i = 0; i < unit->answered_count; i++) {
        if (unit->answered[i] == completion) {
            return true;
        }
    }
    return false;
}

/* 0: something can be posted. */
static int open_batch(struct posting_unit *unit, struct piommu_completion *completion)
{
    for (unsigned int i = 0; i < POSTING_MAX_UNITS; i++) {
        assert_false(units[i] != NULL && has(units[i], completion));
    }
    if (unit->dead) {
        return -PIOMMU_EFAILED;
    }
    completion->unanswered = 0;
    completion->answer = 0;
    completion->deadline = now() + POSTING_TIMEOUT;
    return unit->count >= unit->room ? -PIOMMU_EAGAIN : 0;
}

static struct posting_request *add(struct posting_unit *unit, void *domain,
                                   struct piommu_completion *completion, bool maps)
{
    struct posting_request *request = &unit->requests[unit->count++];

    memset(request, 0, sizeof(*request));
    request->completion = completion;
    request->domain = domain;
    request->maps = maps;
    return request;
}

static int close_batch(struct posting_unit *unit, struct piommu_completion *completion,
                       unsigned int before)
{
    completion->unanswered = unit->count - before;
    unit->batches += unit->count != before;
    return (int)(unit->count - before);
}

static int post_map(void *handle, void *domain, struct piommu_mapping_source *source,
                    struct piommu_completion *completion)
{
    struct posting_unit *unit = unit_of(handle);
    unsigned int before = unit->count;
    struct piommu_backend_mapping mapping;
    int error = open_batch(unit, completion);

    if (error != 0) {
        return error;
    }
    while (unit->count < unit->room && source->next(source, &mapping)) {
        add(unit, domain, completion, true)->mapping = mapping;
    }
    return close_batch(unit, completion, before);
}

static int post_unmap(void *handle, void *domain, struct piommu_range_source *source,
                      struct piommu_completion *completion)
{
    struct posting_unit *unit = unit_of(handle);
    unsigned int before = unit->count;
    struct piommu_range range;
    int error = open_batch(unit, completion);

    if (error != 0) {
        return error;
    }
    while (unit->count < unit->room && source->next(source, &range)) {
        add(unit, domain, completion, false)->mapping.iova = range;
    }
    return close_batch(unit, completion, before);
}

static void note_answer(struct posting_unit *unit, struct piommu_completion *completion, int error)
{
    if (completion->answer == 0) {
        completion->answer = error;
    }
    if (--completion->unanswered == 0) {
        unit->answered[unit->answered_count++] = completion;
    }
}

static bool is_overdue(const struct posting_unit *unit)
{
    uint64_t time = now();

    for (unsigned int i = 0; i < unit->count; i++) {
        if (unit->requests[i].completion->deadline <= time) {
            return true;
        }
    }
    return false;
}

static int poll(void *handle)
{
    struct posting_unit *unit = unit_of(handle);
    struct piommu_completion *answered[POSTING_ROOM];
    unsigned int count = unit->answered_count;
    int error = 0;

    memcpy(answered, unit->answered, sizeof(answered));
    unit->answered_count = 0;
    if (unit->count != 0 && (unit->dead || is_overdue(unit))) {
        error = unit->dead ? -PIOMMU_EFAILED : -PIOMMU_ETIMEDOUT;
        unit->dead = true;
    }
    for (unsigned int i = 0; i < count; i++) {
        piommu_backend_report_answer(unit->instance, answered[i]);
    }
    return error;
}

static int stop(void *handle)
{
    struct posting_unit *unit = unit_of(handle);
    int error = mock_backend(unit->mock)->stop(unit->mock);

    unit->dead = true;
    for (unsigned int i = 0; i < unit->count; i++) {
        note_answer(unit, unit->requests[i].completion, -PIOMMU_EFAILED);
    }
    unit->count = 0;
    return error;
}

struct posting_unit *posting_create(struct fake_os *fake)
{
    struct posting_unit *unit = calloc(1, sizeof(*unit));
    unsigned int number = 0;

    assert_non_null(unit);
    while (units[number] != NULL) {
        number++;
        assert_true(number < POSTING_MAX_UNITS);
    }
    units[number] = unit;
    os = fake;
    unit->mock = mock_create(fake, PIOMMU_BACKEND_REQUESTS);
    unit->room = POSTING_ROOM;
    unit->backend = *mock_backend(unit->mock);
    unit->backend.stop = stop;
    unit->backend.post_map = post_map;
    unit->backend.post_unmap = post_unmap;
    unit->backend.poll = poll;
    return unit;
}

int posting_start(struct posting_unit *unit, struct piommu_context *context, const char *name)
{
    const struct piommu_instance_config config = {.name = name, .timeout = POSTING_TIMEOUT};

    return piommu_instance_create(context, &unit->backend, &unit->mock, &config, &unit->instance);
}

void posting_destroy(struct posting_unit *unit)
{
    for (unsigned int i = 0; i < POSTING_MAX_UNITS; i++) {
        if (units[i] == unit) {
            units[i] = NULL;
        }
    }
    assert_int_equal(unit->count, 0);
    assert_int_equal(unit->answered_count, 0);
    mock_destroy(unit->mock);
    free(unit);
}

/* ---- What the unit does ---- */

/* One mapping, or one range. */
struct single {
    union {
        struct piommu_mapping_source mapping;
        struct piommu_range_source range;
    } source;
    const struct posting_request *request;
};

static bool next_mapping(struct piommu_mapping_source *source,
                         struct piommu_backend_mapping *mapping)
{
    struct single *single = (struct single *)(void *)source;

    if (single->request == NULL) {
        return false;
    }
    *mapping = single->request->mapping;
    single->request = NULL;
    return true;
}

static bool next_range(struct piommu_range_source *source, struct piommu_range *range)
{
    struct single *single = (struct single *)(void *)source;

    if (single->request == NULL) {
        return false;
    }
    *range = single->request->mapping.iova;
    single->request = NULL;
    return true;
}

static void perform(struct posting_unit *unit, const struct posting_request *request)
{
    const struct piommu_backend *backend = mock_backend(unit->mock);
    struct single single = {.request = request};
    int error;

    if (request->maps) {
        single.source.mapping.next = next_mapping;
        error = backend->map(unit->mock, request->domain, &single.source.mapping);
    } else {
        single.source.range.next = next_range;
        error = backend->unmap(unit->mock, request->domain, &single.source.range);
    }
    assert_int_equal(error, 0);
}

void posting_answer(struct posting_unit *unit, unsigned int number, enum posting_effect effect,
                    int error)
{
    struct posting_request request;

    assert_true(number < unit->count);
    request = unit->requests[number];
    unit->count--;
    memmove(&unit->requests[number], &unit->requests[number + 1],
            (unit->count - number) * sizeof(request));
    if (effect == POSTING_DONE) {
        perform(unit, &request);
    }
    note_answer(unit, request.completion, error);
}
