/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random calls on virtio-iommus of all kinds, compared with a plain shadow after each of them: what
 * every endpoint can reach by every interesting address, and what lookups say. Some calls are
 * posted, and the device answers them when it likes. Now and then a request fails.
 *
 * PIOMMU_RANDOM_SEED and PIOMMU_RANDOM_STEPS are obeyed; the same seed makes the same calls. They
 * come in episodes, each of which begins with a new device. Episodes run in a child process, so
 * that whatever kills one can be shrunk: chunks of calls are left out as long as the rest still
 * fails.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "posted.h"
#include "viommu_fixture.h"

#define PAGE                0x1000ull
#define BASE                0x100000ull
#define SLOTS               40u
#define DOMAINS             3u
#define DEVICES             4u
#define ENDPOINTS           6u /* the last one is never added */
#define GATHERS             2u
#define EPISODE             250u
#define POSTS               12u /* of maps, under way at once */
#define RW                  (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define NOWHERE             UINT32_MAX
#define DEFAULT_STEPS       40000u
#define SECONDS_PER_EPISODE 120u

/* Slots 30 and 31 are reserved for device 1. */
#define RESERVED_FIRST 30u
#define RESERVED_LAST  31u
#define RESERVED_FOR   1u

enum kind {
    MAP,
    MAP_LIST,
    UNMAP,
    SYNC,
    ATTACH,
    DETACH,
    ADD,
    REMOVE,
    RENEW,
    MODE,
    INJECT,
    SERVICE,
    POST_MAP,
    POST_LIST,
    POST_SYNC,
    RUN,
    KINDS,
};

static const char *const kind_names[KINDS] = {
    "map",   "map_list", "unmap",  "sync",    "attach",   "detach",    "add",       "remove",
    "renew", "mode",     "inject", "service", "post_map", "post_list", "post_sync", "run"};

struct operation {
    enum kind kind;
    uint32_t a;
    uint32_t b;
    uint32_t c;
    uint32_t d;
};

struct slot {
    enum {
        FREE,
        MAPPED,
        PENDING,
        POSTED, /* its map is under way: mapped or free, when the completion comes at the latest */
        SYNCED, /* the sync of what was here is: pending or free, likewise */
    } state;
    uint32_t call; /* which call has mapped it */
    uint32_t run;  /* which physically contiguous run */
    uint32_t gather;
    uint64_t physical;
    piommu_prot prot;
};

struct shadow;

/* A post of a map, or of the sync of a gather. */
struct shadow_post {
    struct posted posted; /* its first member */
    struct shadow *shadow;
    uint32_t domain;
    uint32_t call;   /* of a map */
    uint32_t gather; /* of a sync */
};

struct shadow_domain {
    struct piommu_domain *domain;
    struct shadow_post syncs[GATHERS]; /* their gathers are those of the domain */
    struct slot slots[SLOTS];
};

struct shadow_device {
    struct piommu_device *device; /* NULL: not added */
    uint32_t domain;              /* NOWHERE: blocked */
};

struct shadow {
    struct viommu_fixture *fixture;
    struct shadow_domain domains[DOMAINS];
    struct shadow_post maps[POSTS];
    struct shadow_device devices[DEVICES];
    bool was_added[ENDPOINTS];
    bool leave;
    bool honest; /* no request ever fails */
    uint32_t next_call;
    uint32_t injected; /* requests that may still fail, at most */
    bool serviced;     /* completions may come now */
};

static const uint32_t endpoint_ids[ENDPOINTS] = {0x10, 0x18, 0x20, 0x28, 0x29, 0x99};
/* The endpoints of each device. */
static const uint32_t first_endpoint[DEVICES] = {0, 1, 2, 3};
static const uint32_t endpoint_count[DEVICES] = {1, 1, 1, 2};

/* ---- Chance ---- */

static uint64_t chance;

static uint32_t pick(uint32_t limit)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (uint32_t)(chance >> 32) % limit;
}

static struct operation choose(void)
{
    static const uint8_t weights[KINDS] = {12, 8, 15, 8, 9, 5, 4, 3, 2, 2, 2, 7, 8, 5, 5, 5};
    uint32_t roll = pick(100);
    struct operation operation;
    unsigned int kind = 0;

    while (roll >= weights[kind]) {
        roll -= weights[kind];
        kind++;
    }
    operation.kind = (enum kind)kind;
    operation.a = pick(UINT32_MAX);
    operation.b = pick(UINT32_MAX);
    operation.c = pick(UINT32_MAX);
    operation.d = pick(UINT32_MAX);
    return operation;
}

/* ---- The shadow ---- */

static uint64_t iova_of(uint32_t slot)
{
    return BASE + slot * PAGE;
}

static bool has_failed(const struct shadow *shadow)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(shadow->fixture->instance, &info);
    return info.failed;
}

static void map_complete(struct posted *posted)
{
    struct shadow_post *post = (struct shadow_post *)(void *)posted;
    struct shadow *shadow = post->shadow;

    assert_true(shadow->serviced);
    assert_true(posted->error == 0 || shadow->injected != 0);
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &shadow->domains[post->domain].slots[i];

        if (slot->call == post->call && slot->state == POSTED) {
            slot->state = posted->error == 0 ? MAPPED : FREE;
        } else if (slot->call == post->call && slot->state != FREE) {
            /* It was seen before. */
            assert_int_equal(posted->error, 0);
        }
    }
}

static void sync_complete(struct posted *posted)
{
    struct shadow_post *post = (struct shadow_post *)(void *)posted;

    assert_true(post->shadow->serviced);
    assert_true(posted->error == 0 || post->shadow->injected != 0);
    assert_int_equal(posted->gather.pending, posted->error != 0);
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &post->shadow->domains[post->domain].slots[i];

        if (slot->state == SYNCED && slot->gather == post->gather) {
            slot->state = posted->error == 0 ? FREE : PENDING;
        }
    }
}

static bool is_under_way(const struct shadow_post *post)
{
    return post->posted.state == POSTED_UNDER_WAY;
}

/* Whether completions are still to come; in one domain, or (DOMAINS) in any. */
static bool owes(const struct shadow *shadow, uint32_t domain)
{
    bool owed = false;

    for (uint32_t i = 0; i < POSTS; i++) {
        owed = owed || (is_under_way(&shadow->maps[i]) &&
                        (domain == DOMAINS || shadow->maps[i].domain == domain));
    }
    for (uint32_t i = 0; i < DOMAINS; i++) {
        for (uint32_t j = 0; j < GATHERS; j++) {
            owed = owed || (is_under_way(&shadow->domains[i].syncs[j]) &&
                            (domain == DOMAINS || domain == i));
        }
    }
    return owed;
}

/*
 * Posts that have come to their end, without their completions, are seen by calls from then on:
 * what of the maps that are under way is mapped now is no question any more.
 */
static void look_at_posts(struct shadow_domain *domain)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct piommu_translation found;

        if (domain->slots[i].state == POSTED &&
            piommu_domain_lookup(domain->domain, iova_of(i), &found) == 0) {
            domain->slots[i].state = MAPPED;
        }
    }
}

static void set_up_domain(struct shadow *shadow, uint32_t number)
{
    struct shadow_domain *domain = &shadow->domains[number];

    memset(domain->slots, 0, sizeof(domain->slots));
    for (uint32_t i = 0; i < GATHERS; i++) {
        struct shadow_post *sync = &domain->syncs[i];

        posted_init(&sync->posted);
        sync->posted.then = sync_complete;
        sync->shadow = shadow;
        sync->domain = number;
        sync->gather = i;
    }
    domain->domain = viommu_fixture_add_domain(shadow->fixture, PIOMMU_DOMAIN_PAGING);
}

static void set_up(struct shadow *shadow, uint64_t seed)
{
    const struct viommu_model_region reserved = {
        .start = iova_of(RESERVED_FIRST), .end = iova_of(RESERVED_LAST) + PAGE - 1, .subtype = 0};
    struct viommu_fixture_options options;

    memset(shadow, 0, sizeof(*shadow));
    viommu_fixture_use((unsigned int)((seed >> 4) % (viommu_fixture_variants() + 1)));
    viommu_fixture_default_options(&options);
    options.model.offered_features |= VIOMMU_MODEL_F_PROBE;
    options.model.lone_detach = false; /* what cannot leave fails the instance */
    options.os.scattered = true;
    options.timeout = 1000000000; /* nothing is overdue because the shadow has much to ask */
    shadow->leave = (seed & 1) != 0;
    shadow->honest = (seed & 8) != 0;
    options.unknown_ids = shadow->leave ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
    /* Small rings fill up. */
    options.model.queue_size[0] = (uint16_t)(4u << (seed >> 1 & 3));
    shadow->fixture = viommu_fixture_started(&options);
    shadow->fixture->paused = true;
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        assert_true(viommu_model_add_endpoint(shadow->fixture->model, endpoint_ids[i], &reserved,
                                              i == first_endpoint[RESERVED_FOR] ? 1 : 0));
    }
    for (uint32_t i = 0; i < DOMAINS; i++) {
        set_up_domain(shadow, i);
    }
    for (uint32_t i = 0; i < POSTS; i++) {
        posted_init(&shadow->maps[i].posted);
        shadow->maps[i].posted.then = map_complete;
        shadow->maps[i].shadow = shadow;
    }
    for (uint32_t i = 0; i < DEVICES; i++) {
        shadow->devices[i].domain = NOWHERE;
    }
}

static bool reserved_in(const struct shadow *shadow, uint32_t domain)
{
    return shadow->devices[RESERVED_FOR].device != NULL &&
           shadow->devices[RESERVED_FOR].domain == domain;
}

/* ---- Comparing ---- */

static void compare_access(const struct shadow *shadow, uint32_t endpoint, const struct slot *slot,
                           uint64_t iova, bool write)
{
    uint64_t physical = 0;
    enum viommu_model_verdict verdict = viommu_model_translate(
        shadow->fixture->model, endpoint_ids[endpoint], iova, write, &physical);
    bool granted = slot != NULL && slot->state != FREE &&
                   (slot->prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0;
    bool reaches = verdict == VIOMMU_MODEL_MAPPED || verdict == VIOMMU_MODEL_IDENTITY;

    if (reaches && (!granted || physical != slot->physical + (iova & (PAGE - 1)))) {
        fail_msg("endpoint %" PRIu32 " can %s 0x%" PRIx64 " by 0x%" PRIx64
                 ", which it was not granted",
                 endpoint, write ? "write" : "read", physical, iova);
    }
    /* What is unmapped but not synced may be there or not. */
    if (granted && slot->state == MAPPED && !reaches) {
        fail_msg("endpoint %" PRIu32 " cannot %s by 0x%" PRIx64 ", which it was granted", endpoint,
                 write ? "write" : "read", iova);
    }
}

static void compare_endpoint(const struct shadow *shadow, uint32_t endpoint, uint32_t domain)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct slot *slot = domain == NOWHERE ? NULL : &shadow->domains[domain].slots[i];

        compare_access(shadow, endpoint, slot, iova_of(i), false);
        compare_access(shadow, endpoint, slot, iova_of(i) + PAGE - 1, true);
    }
    compare_access(shadow, endpoint, NULL, BASE - 1, false);
    compare_access(shadow, endpoint, NULL, iova_of(SLOTS), true);
    compare_access(shadow, endpoint, NULL, shadow->fixture->memory, true);
}

static void compare_domain(struct shadow *shadow, uint32_t number)
{
    struct shadow_domain *domain = &shadow->domains[number];
    struct piommu_domain_statistics statistics;
    uint64_t mapped = 0;
    uint64_t undecided = 0;
    uint32_t endpoints = 0;

    look_at_posts(domain);
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct slot *slot = &domain->slots[i];
        struct piommu_translation found = {0};
        int error = piommu_domain_lookup(domain->domain, iova_of(i) + 5, &found);

        if (slot->state == MAPPED) {
            mapped += PAGE;
            assert_int_equal(error, 0);
            assert_int_equal(found.physical, slot->physical + 5);
            assert_int_equal(found.prot, slot->prot);
        } else {
            assert_int_equal(error, -PIOMMU_ENOENT);
            undecided += slot->state == POSTED ? PAGE : 0;
        }
    }
    for (uint32_t i = 0; i < DEVICES; i++) {
        if (shadow->devices[i].device != NULL && shadow->devices[i].domain == number) {
            endpoints += endpoint_count[i];
        }
    }
    piommu_domain_get_statistics(domain->domain, &statistics);
    assert_in_range(statistics.mapped, mapped, mapped + undecided);
    assert_int_equal(statistics.endpoints, endpoints);
}

static void compare(struct shadow *shadow)
{
    for (uint32_t i = 0; i < DEVICES; i++) {
        const struct shadow_device *device = &shadow->devices[i];

        for (uint32_t j = 0; j < endpoint_count[i]; j++) {
            uint32_t endpoint = first_endpoint[i] + j;

            if (device->device != NULL) {
                compare_endpoint(shadow, endpoint, device->domain);
            } else if (!shadow->leave || shadow->was_added[endpoint]) {
                compare_endpoint(shadow, endpoint, NOWHERE);
            }
        }
    }
    if (!shadow->leave) {
        compare_endpoint(shadow, ENDPOINTS - 1, NOWHERE);
    }
    for (uint32_t i = 0; i < DOMAINS; i++) {
        compare_domain(shadow, i);
    }
    if (viommu_model_violations(shadow->fixture->model) != 0) {
        fail_msg("%s", viommu_model_violation(shadow->fixture->model, 0));
    }
}

/* ---- Calls ---- */

/* An error is fine if some request was made to fail; the call must not have done anything then. */
static void expect(const struct shadow *shadow, int error, int expected, int alternative)
{
    bool injected = shadow->injected != 0 && (expected == 0 || alternative == 0);

    if (error != expected && error != alternative && !(injected && error < 0)) {
        fail_msg("returned %d, should be %d or %d", error, expected, alternative);
    }
}

static uint32_t length_at(uint32_t slot, uint32_t random, uint32_t most)
{
    uint32_t length = random % most + 1;

    return length > SLOTS - slot ? SLOTS - slot : length;
}

static struct shadow_post *free_post(struct shadow *shadow)
{
    for (uint32_t i = 0; i < POSTS; i++) {
        if (!is_under_way(&shadow->maps[i])) {
            return &shadow->maps[i];
        }
    }
    return NULL;
}

static int post_map(const struct shadow *shadow, struct shadow_post *post,
                    const struct operation *operation, uint32_t slot,
                    const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    post->domain = operation->a % DOMAINS;
    post->call = shadow->next_call + 1;
    if (operation->kind == POST_LIST) {
        return posted_map_list(&post->posted, shadow->domains[post->domain].domain, iova_of(slot),
                               segments, count, prot);
    }
    return posted_map(&post->posted, shadow->domains[post->domain].domain, iova_of(slot),
                      segments[0].physical, segments[0].size, prot);
}

/* A post may find no room, while the device has something to do. */
static bool has_no_room(const struct shadow *shadow, int error)
{
    return error == -PIOMMU_EAGAIN && viommu_model_pending(shadow->fixture->model) != 0;
}

static void expect_map_error(const struct shadow *shadow, int error, bool is_post, bool taken,
                             bool reserved)
{
    bool fits = (taken && error == -PIOMMU_EEXIST) || (reserved && error == -PIOMMU_ERESERVED) ||
                (is_post && has_no_room(shadow, error));

    if (!fits && shadow->injected == 0) {
        fail_msg("map returned %d", error);
    }
}

/* Maps segments of the given numbers of pages. */
static void do_map(struct shadow *shadow, const struct operation *operation)
{
    struct shadow_domain *domain = &shadow->domains[operation->a % DOMAINS];
    uint32_t start = operation->b % SLOTS;
    bool is_list = operation->kind == MAP_LIST || operation->kind == POST_LIST;
    bool is_post = operation->kind == POST_MAP || operation->kind == POST_LIST;
    uint32_t length = length_at(start, operation->c, is_list ? 10 : 6);
    piommu_prot prot = (operation->d & 1) != 0 ? RW : PIOMMU_PROT_READ;
    struct shadow_post *post = is_post ? free_post(shadow) : NULL;
    struct piommu_segment segments[10];
    uint64_t physical[10];
    uint32_t runs[10];
    uint32_t count = 0;
    uint32_t page = operation->d >> 8;
    bool taken = false;
    bool maybe_taken = false;
    bool reserved = false;
    int error;

    if (is_post && post == NULL) {
        return;
    }
    look_at_posts(domain);
    for (uint32_t i = 0; i < length; i++) {
        bool starts = i == 0 || (is_list && (operation->d >> (i + 1) & 1) != 0);
        const struct slot *slot = &domain->slots[start + i];

        if (starts) {
            /* Half of them go on where the last one ended, and belong to the same run. */
            if (i != 0 && (operation->d >> (i + 12) & 1) == 0) {
                page += 3 + i;
            }
            segments[count].physical = 0x40000000ull + page * PAGE;
            segments[count].size = 0;
            count++;
        }
        segments[count - 1].size += PAGE;
        physical[i] = 0x40000000ull + page * PAGE;
        runs[i] = i != 0 && physical[i] == physical[i - 1] + PAGE ? runs[i - 1] : i;
        page++;
        taken = taken || slot->state == MAPPED || slot->state == PENDING;
        maybe_taken = maybe_taken || slot->state == POSTED || slot->state == SYNCED;
        reserved = reserved || (start + i >= RESERVED_FIRST && start + i <= RESERVED_LAST);
    }
    reserved = reserved && reserved_in(shadow, operation->a % DOMAINS);
    error = is_post ? post_map(shadow, post, operation, start, segments, count, prot)
            : is_list
                ? piommu_domain_map_list(domain->domain, iova_of(start), segments, count, prot)
                : piommu_domain_map(domain->domain, iova_of(start), segments[0].physical,
                                    segments[0].size, prot);
    if (error < 0) {
        expect_map_error(shadow, error, is_post, taken || maybe_taken, reserved);
        return;
    }
    assert_false(taken || reserved);
    shadow->next_call++;
    for (uint32_t i = 0; i < length; i++) {
        domain->slots[start + i] =
            (struct slot){.state = is_post && is_under_way(post) ? POSTED : MAPPED,
                          .call = shadow->next_call,
                          .run = runs[i],
                          .physical = physical[i],
                          .prot = prot};
    }
}

/* Whether the edge before a slot lies in a mapping; *maybe: in a list, between two of its runs. */
static bool cuts(const struct shadow_domain *domain, uint32_t slot, bool *maybe)
{
    const struct slot *left;
    const struct slot *right;

    if (slot == 0 || slot >= SLOTS) {
        return false;
    }
    left = &domain->slots[slot - 1];
    right = &domain->slots[slot];
    if (left->state != MAPPED || right->state != MAPPED || left->call != right->call) {
        return false;
    }
    if (left->run == right->run) {
        return true;
    }
    *maybe = true;
    return false;
}

static void do_unmap(struct shadow *shadow, const struct operation *operation)
{
    struct shadow_domain *domain = &shadow->domains[operation->a % DOMAINS];
    uint32_t start = operation->b % SLOTS;
    uint32_t length = length_at(start, operation->c, 16);
    uint32_t number = operation->d % GATHERS;
    struct piommu_gather *gather = &domain->syncs[number].posted.gather;
    uint64_t unmapped = 0x5555;
    uint64_t expected = 0;
    bool maybe = false;
    bool cut;
    int error;

    if (is_under_way(&domain->syncs[number])) {
        return;
    }
    look_at_posts(domain);
    if ((operation->d & 0x100) != 0) {
        /* A range that fits: chance alone hits one rarely. */
        while (start > 0 && domain->slots[start].state == MAPPED &&
               domain->slots[start - 1].state == MAPPED &&
               domain->slots[start - 1].call == domain->slots[start].call) {
            start--;
        }
        length = 1;
        while (start + length < SLOTS && domain->slots[start].state == MAPPED &&
               domain->slots[start + length].state == MAPPED &&
               domain->slots[start + length].call == domain->slots[start].call) {
            length++;
        }
    }
    cut = cuts(domain, start, &maybe);
    cut = cuts(domain, start + length, &maybe) || cut;
    for (uint32_t i = start; i < start + length; i++) {
        expected += domain->slots[i].state == MAPPED ? PAGE : 0;
    }
    error = piommu_domain_unmap(domain->domain, iova_of(start), length * PAGE, gather, &unmapped);
    if (cut || (maybe && error != 0)) {
        assert_int_equal(error, -PIOMMU_ECUT);
        assert_int_equal(unmapped, 0x5555);
        return;
    }
    assert_int_equal(error, expected == 0 ? -PIOMMU_ENOENT : 0);
    if (error != 0) {
        return;
    }
    assert_int_equal(unmapped, expected);
    assert_true(gather->pending);
    for (uint32_t i = start; i < start + length; i++) {
        if (domain->slots[i].state == MAPPED) {
            assert_true(gather->range.first <= iova_of(i));
            assert_true(gather->range.last >= iova_of(i) + PAGE - 1);
            domain->slots[i].state = PENDING;
            domain->slots[i].gather = number;
        }
    }
}

static void do_sync(struct shadow *shadow, const struct operation *operation)
{
    struct shadow_domain *domain = &shadow->domains[operation->a % DOMAINS];
    uint32_t number = operation->b % GATHERS;
    struct shadow_post *sync = &domain->syncs[number];
    int error;

    if (is_under_way(sync)) {
        return;
    }
    if (operation->kind == SYNC) {
        error = piommu_domain_sync(domain->domain, &sync->posted.gather);
    } else {
        error = posted_sync(&sync->posted, domain->domain);
    }
    if (error < 0) {
        assert_true((operation->kind == POST_SYNC && has_no_room(shadow, error)) ||
                    shadow->injected != 0);
        assert_true(sync->posted.gather.pending);
        return;
    }
    assert_true(is_under_way(sync) || !sync->posted.gather.pending);
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (domain->slots[i].state == PENDING && domain->slots[i].gather == number) {
            domain->slots[i].state = is_under_way(sync) ? SYNCED : FREE;
        }
    }
}

static void do_attach(struct shadow *shadow, const struct operation *operation)
{
    struct shadow_device *device = &shadow->devices[operation->a % DEVICES];
    uint32_t number = operation->b % DOMAINS;
    const struct shadow_domain *domain = &shadow->domains[number];
    bool conflict = false;
    bool pending = false;
    int error;

    if (device->device == NULL) {
        return;
    }
    if (operation->a % DEVICES == RESERVED_FOR && device->domain != number) {
        for (uint32_t i = RESERVED_FIRST; i <= RESERVED_LAST; i++) {
            conflict = conflict || domain->slots[i].state == MAPPED;
            pending =
                pending || (domain->slots[i].state != FREE && domain->slots[i].state != MAPPED);
        }
    }
    error = piommu_device_attach(device->device, domain->domain);
    if (error == -PIOMMU_EFAILED && has_failed(shadow)) {
        /* A post that it has waited for, whatever there is to say of the attach itself. */
        assert_true(shadow->injected != 0);
        return;
    }
    expect(shadow, error, conflict ? -PIOMMU_ERESERVED : 0,
           pending || conflict ? -PIOMMU_ERESERVED : 0);
    if (error == 0) {
        device->domain = number;
    } else if (error == -PIOMMU_EBLOCKED) {
        device->domain = NOWHERE;
    }
}

static void do_detach(struct shadow *shadow, const struct operation *operation)
{
    struct shadow_device *device = &shadow->devices[operation->a % DEVICES];

    if (device->device != NULL) {
        assert_int_equal(piommu_device_detach(device->device), 0);
        device->domain = NOWHERE;
    }
}

static void do_add(struct shadow *shadow, const struct operation *operation)
{
    uint32_t number = operation->a % DEVICES;
    struct shadow_device *device = &shadow->devices[number];
    int error;

    if (device->device != NULL) {
        return;
    }
    error = viommu_fixture_try_add(shadow->fixture, &endpoint_ids[first_endpoint[number]],
                                   endpoint_count[number], &device->device);
    expect(shadow, error, 0, 0);
    if (error != 0) {
        device->device = NULL;
        return;
    }
    for (uint32_t i = 0; i < endpoint_count[number]; i++) {
        shadow->was_added[first_endpoint[number] + i] = true;
    }
}

static void do_remove(struct shadow *shadow, const struct operation *operation)
{
    struct shadow_device *device = &shadow->devices[operation->a % DEVICES];

    if (device->device == NULL) {
        return;
    }
    if (device->domain != NOWHERE) {
        assert_int_equal(piommu_device_remove(device->device), -PIOMMU_EBUSY);
        return;
    }
    viommu_fixture_remove_device(shadow->fixture, device->device);
    device->device = NULL;
}

/* Destroys a domain and makes another one. */
static void do_renew(struct shadow *shadow, const struct operation *operation)
{
    uint32_t number = operation->a % DOMAINS;
    struct shadow_domain *domain = &shadow->domains[number];

    for (uint32_t i = 0; i < DEVICES; i++) {
        if (shadow->devices[i].device != NULL && shadow->devices[i].domain == number) {
            assert_int_equal(piommu_domain_destroy(domain->domain), -PIOMMU_EBUSY);
            return;
        }
    }
    if (owes(shadow, number)) {
        assert_int_equal(piommu_domain_destroy(domain->domain), -PIOMMU_EBUSY);
        return;
    }
    viommu_fixture_remove_domain(shadow->fixture, domain->domain);
    set_up_domain(shadow, number);
}

static void do_mode(struct shadow *shadow, const struct operation *operation)
{
    struct viommu_fixture *fixture = shadow->fixture;

    /* Nobody rings again for what has been posted so far. */
    (void)viommu_model_run(fixture->model, SIZE_MAX);
    fixture->options.processing =
        (operation->a & 1) != 0 ? VIOMMU_MODEL_AT_RUN : VIOMMU_MODEL_AT_DOORBELL;
    fixture->options.run_per_wait = operation->b % 4 + 1;
    viommu_model_set_processing(fixture->model, fixture->options.processing);
    viommu_model_set_order(fixture->model, (enum viommu_model_order)(operation->c % 3),
                           operation->d);
    viommu_model_set_effect(fixture->model, (operation->a & 2) != 0
                                                ? VIOMMU_MODEL_EFFECT_AT_DOORBELL
                                                : VIOMMU_MODEL_EFFECT_AT_COMPLETION);
    viommu_model_set_retain(fixture->model, true);
}

static void do_inject(struct shadow *shadow, const struct operation *operation)
{
    if (!shadow->honest &&
        viommu_model_fail_request(shadow->fixture->model, (uint8_t)(operation->a % 6),
                                  operation->b % 4 + 1, (uint8_t)(operation->c % 9 + 1))) {
        shadow->injected++;
    }
}

/* Takes in reports and answers, as an interrupt does it, or as one that may wait does. */
static int service(struct shadow *shadow, unsigned int budget, bool interrupt)
{
    bool more;
    int handled;

    shadow->serviced = true;
    handled = interrupt ? piommu_instance_interrupt(shadow->fixture->instance, budget, &more)
                        : piommu_instance_service(shadow->fixture->instance, budget);
    shadow->serviced = false;
    return handled;
}

/* Lets a master try what it may not, and takes in the reports. */
static void do_service(struct shadow *shadow, const struct operation *operation)
{
    uint8_t byte = 0;
    int handled;

    for (uint32_t i = 0; i < operation->b % 8; i++) {
        viommu_model_dma(shadow->fixture->model, endpoint_ids[operation->a % ENDPOINTS],
                         iova_of(operation->c % SLOTS) + i, &byte, 1, (operation->d & 1) != 0);
    }
    handled = service(shadow, operation->d % 6, (operation->a & 0x100) != 0);
    if (handled != -PIOMMU_EFAILED || shadow->injected == 0) {
        assert_in_range(handled, 0, operation->d % 6);
    }
}

static void do_run(struct shadow *shadow, const struct operation *operation)
{
    (void)viommu_model_run(shadow->fixture->model, operation->a % 8 + 1);
}

/* Lets all posts come to their end. */
static void drain(struct shadow *shadow)
{
    for (unsigned int i = 0; owes(shadow, DOMAINS); i++) {
        assert_true(i < 1000);
        (void)viommu_model_run(shadow->fixture->model, SIZE_MAX);
        (void)service(shadow, 8, false);
    }
}

/*
 * All devices of a failed instance are blocked; it is taken down, and another one takes its place.
 */
static void start_over(struct shadow *shadow, uint64_t seed)
{
    assert_true(shadow->injected != 0);
    (void)service(shadow, 8, false);
    assert_false(owes(shadow, DOMAINS));
    for (uint32_t i = 0; i < ENDPOINTS - 1; i++) {
        if (!shadow->leave || shadow->was_added[i]) {
            compare_endpoint(shadow, i, NOWHERE);
        }
    }
    viommu_model_behave(shadow->fixture->model);
    viommu_fixture_destroy(shadow->fixture);
    set_up(shadow, seed);
}

static void perform(struct shadow *shadow, const struct operation *operation)
{
    static void (*const functions[KINDS])(struct shadow *, const struct operation *) = {
        [MAP] = do_map,       [MAP_LIST] = do_map,  [UNMAP] = do_unmap,    [SYNC] = do_sync,
        [ATTACH] = do_attach, [DETACH] = do_detach, [ADD] = do_add,        [REMOVE] = do_remove,
        [RENEW] = do_renew,   [MODE] = do_mode,     [INJECT] = do_inject,  [SERVICE] = do_service,
        [POST_MAP] = do_map,  [POST_LIST] = do_map, [POST_SYNC] = do_sync, [RUN] = do_run,
    };

    functions[operation->kind](shadow, operation);
}

static void run_operations(const struct operation *operations, size_t count, uint64_t seed)
{
    struct shadow shadow;

    set_up(&shadow, seed);
    for (size_t i = 0; i < count; i++) {
        perform(&shadow, &operations[i]);
        if (has_failed(&shadow)) {
            start_over(&shadow, seed);
        }
        compare(&shadow);
    }
    viommu_model_behave(shadow.fixture->model);
    drain(&shadow);
    viommu_fixture_destroy(shadow.fixture);
}

/* ---- Episodes, in a child process ---- */

static void make_operations(struct operation *operations, size_t count, uint64_t seed)
{
    chance = seed * 0x9e3779b97f4a7c15ull + 0x1234567;
    for (unsigned int i = 0; i < 8; i++) {
        (void)pick(2);
    }
    for (size_t i = 0; i < count; i++) {
        operations[i] = choose();
    }
}

/* Whether a list of operations makes a child process fail. */
static bool fails(const struct operation *operations, size_t count, uint64_t seed, bool silent)
{
    pid_t child;
    int status = 0;

    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (silent) {
            int nowhere = open("/dev/null", O_WRONLY);

            dup2(nowhere, 1);
            dup2(nowhere, 2);
        }
        (void)alarm(SECONDS_PER_EPISODE);
        run_operations(operations, count, seed);
        fflush(NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* Leaves out what it can; returns how many operations are left. */
static size_t shrink(struct operation *operations, size_t count, uint64_t seed)
{
    struct operation tried[EPISODE];

    for (size_t chunk = count / 2; chunk > 0; chunk /= 2) {
        size_t at = 0;

        while (at < count) {
            size_t cut = chunk < count - at ? chunk : count - at;

            memcpy(tried, operations, at * sizeof(*tried));
            memcpy(tried + at, operations + at + cut, (count - at - cut) * sizeof(*tried));
            if (fails(tried, count - cut, seed, true)) {
                count -= cut;
                memcpy(operations, tried, count * sizeof(*tried));
            } else {
                at += chunk;
            }
        }
    }
    return count;
}

static void explain(struct operation *operations, size_t count, uint64_t seed)
{
    count = shrink(operations, count, seed);
    fprintf(stderr, "episode %" PRIu64 " fails with these %zu operations:\n", seed, count);
    for (size_t i = 0; i < count; i++) {
        fprintf(stderr, "  %s 0x%" PRIx32 " 0x%" PRIx32 " 0x%" PRIx32 " 0x%" PRIx32 "\n",
                kind_names[operations[i].kind], operations[i].a, operations[i].b, operations[i].c,
                operations[i].d);
    }
    (void)fails(operations, count, seed, false);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

/*
 * All episodes in one child, which says which one it is at. Returns the one that failed, or `end`.
 */
static uint64_t run_episodes(uint64_t first, uint64_t end)
{
    struct operation operations[EPISODE];
    uint64_t reached = first;
    int pipe_ends[2];
    int status = 0;
    pid_t child;

    assert_int_equal(pipe(pipe_ends), 0);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pipe_ends[0]);
        for (uint64_t episode = first; episode != end; episode++) {
            if (write(pipe_ends[1], &episode, sizeof(episode)) != (ssize_t)sizeof(episode)) {
                _exit(2);
            }
            (void)alarm(SECONDS_PER_EPISODE);
            make_operations(operations, EPISODE, episode);
            run_operations(operations, EPISODE, episode);
        }
        fflush(NULL);
        _exit(0);
    }
    close(pipe_ends[1]);
    while (read(pipe_ends[0], &reached, sizeof(reached)) == (ssize_t)sizeof(reached)) {
        continue;
    }
    close(pipe_ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? end : reached;
}

static void test_random_calls_agree_with_a_shadow(void **state)
{
    uint64_t seed = number_from("PIOMMU_RANDOM_SEED", 1);
    uint64_t steps = number_from("PIOMMU_RANDOM_STEPS", DEFAULT_STEPS);
    uint64_t end = seed + (steps + EPISODE - 1) / EPISODE;
    struct operation operations[EPISODE];
    uint64_t failed;

    (void)state;
    printf("PIOMMU_RANDOM_SEED=%" PRIu64 " PIOMMU_RANDOM_STEPS=%" PRIu64 "\n", seed, steps);
    failed = run_episodes(seed, end);
    if (failed != end) {
        make_operations(operations, EPISODE, failed);
        explain(operations, EPISODE, failed);
        fail_msg("again with PIOMMU_RANDOM_SEED=%" PRIu64 " PIOMMU_RANDOM_STEPS=1", failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_calls_agree_with_a_shadow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
