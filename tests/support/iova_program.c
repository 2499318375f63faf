/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "iova_program.h"

#include "iova_model.h"
#include "pgtable_host.h"

#include <piommu/iova.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LONGEST     0xfffffffeull /* in granules */
#define FILL_RANGES 60u
#define KEPT_MOST   64u /* no longer range is kept by a CPU */

struct world {
    struct fake_os *os;
    struct piommu_iova_space *space;
    struct iova_model model;
    uint64_t granule;
    unsigned int cpus;
    unsigned int cpu; /* that the shim tells */
    unsigned int levels;
    bool verbose;
};

/* The shim has no other place for it; programs run one at a time. */
static struct world *the_world;

static unsigned int tell_cpu(void *ctx)
{
    (void)ctx;
    return the_world->cpu;
}

static uint64_t granules_of(const struct world *w, uint64_t size)
{
    return size / w->granule + (size % w->granule != 0 ? 1 : 0);
}

static uint64_t bytes_of(const struct world *w, uint64_t granules)
{
    return granules * w->granule;
}

/* ---- Numbers ---- */

/* Mostly short; now and then a part of the whole space. */
static uint64_t choose_count(const struct world *w, uint16_t kind, uint16_t number)
{
    uint64_t space = w->model.last - w->model.first + 1;
    uint64_t count;

    switch (kind % 16) {
    case 0:
        count = space / (1 + number % 40);
        break;
    case 1:
        count = 1 + number % 3000u;
        break;
    case 2:
        count = 1ull << number % 12;
        break;
    case 3:
    case 4:
    case 5:
        count = 1 + number % 4u;
        break;
    default:
        count = 1 + number % 64u;
        break;
    }
    return count == 0 ? 1 : count > LONGEST ? LONGEST : count;
}

/* A byte somewhere in the space, often near the edge of something that lives. */
static uint64_t choose_address(const struct world *w, uint16_t kind, uint16_t number)
{
    uint64_t space = w->model.last - w->model.first + 1;
    uint64_t granule = w->model.first + (uint64_t)number * (space / 65536) + number % space;

    if (kind % 2 == 0 && w->model.count != 0) {
        const struct iova_live *live = &w->model.live[number % w->model.count];

        granule = (kind & 2) != 0 ? live->first : live->last;
        granule += (uint64_t)(kind >> 2) % 5 - 2;
    }
    return bytes_of(w, granule) + (uint64_t)number * 31 % w->granule;
}

static uint64_t choose_limit(const struct world *w, uint16_t kind, uint16_t number)
{
    uint64_t address = choose_address(w, kind, number);

    if (kind / 8 % 4 != 0) {
        return 0;
    }
    return (kind & 0x100) != 0 ? bytes_of(w, address / w->granule + 1) - 1 : address;
}

static uint64_t choose_power(const struct world *w, uint16_t number)
{
    unsigned int shift = number / 16 % (number % 16 == 0 ? w->levels + 2 : 8);

    return number % 4 != 0 || w->granule > UINT64_MAX >> (shift + 1) ? 0 : w->granule << shift;
}

/* ---- Checks ---- */

static void check_counters(struct world *w)
{
    struct piommu_iova_statistics s;

    piommu_iova_get_statistics(w->space, &s);
    CHECK(s.granules_taken - s.granules_kept == w->model.granules);
    CHECK(w->cpus != 0 || s.granules_kept == 0);
    CHECK(s.bytes == fake_os_bytes_outstanding(w->os));
}

static void check_find(struct world *w, uint64_t address)
{
    struct piommu_range range = {1, 0};
    int error = piommu_iova_find(w->space, address, &range);
    uint64_t granule = address / w->granule;

    if (!iova_model_is_free(&w->model, granule, granule)) {
        const struct iova_live *live = &w->model.live[iova_model_from(&w->model, granule)];

        CHECK(error == 0);
        CHECK(range.first == bytes_of(w, live->first));
        CHECK(range.last == bytes_of(w, live->last) + (w->granule - 1));
    } else if (error == 0) {
        /* Kept by a CPU. */
        CHECK(w->cpus != 0 && range.first <= address && address <= range.last);
        CHECK((range.last - range.first) / w->granule < KEPT_MOST);
        CHECK(iova_model_is_free(&w->model, range.first / w->granule, range.last / w->granule));
    } else {
        CHECK(error == -PIOMMU_ENOENT);
    }
}

/* ---- Allocation ---- */

/* A request in granules. */
struct wish {
    uint64_t count;
    uint64_t alignment;
    uint64_t limit; /* the last granule that may be given out */
    uint64_t preferred;
    uint64_t boundary; /* 0: none */
    bool none;         /* the limit leaves no granule at all */
    bool prefers;
};

/* The last whole granule at or below a byte; false if there is none. */
static bool last_granule(const struct world *w, uint64_t limit, uint64_t *granule)
{
    uint64_t last = limit / w->granule;

    if (limit % w->granule != w->granule - 1) {
        if (last == 0) {
            return false;
        }
        last--;
    }
    *granule = last;
    return true;
}

static struct wish wish_of(const struct world *w, const struct piommu_iova_request *request)
{
    struct wish wish = {.count = granules_of(w, request->size),
                        .alignment = 1,
                        .limit = UINT64_MAX,
                        .boundary = request->boundary / w->granule};

    if (request->alignment > w->granule) {
        wish.alignment = request->alignment / w->granule;
    }
    if (request->limit != 0) {
        wish.none = !last_granule(w, request->limit, &wish.limit);
    }
    if (request->preferred != 0 && last_granule(w, request->preferred, &wish.preferred)) {
        wish.prefers = true;
        wish.preferred = wish.preferred < wish.limit ? wish.preferred : wish.limit;
    }
    return wish;
}

/* The place that comes first, if it has to be at a multiple of `alignment`. */
static bool first_place(const struct world *w, const struct wish *wish, uint64_t alignment,
                        uint64_t *place)
{
    if (wish->none) {
        return false;
    }
    return (wish->prefers &&
            iova_model_place(&w->model, wish->count, alignment, wish->preferred, place)) ||
           iova_model_place(&w->model, wish->count, alignment, wish->limit, place);
}

static uint64_t power_above(uint64_t count)
{
    uint64_t power = 1;

    while (power < count) {
        power *= 2;
    }
    return power;
}

/* Whether it succeeds, and where, as far as this is certain. */
static void check_place(const struct world *w, const struct wish *wish, int error, uint64_t place)
{
    uint64_t alignment = wish->alignment;
    uint64_t expected = 0;
    bool must;

    if (wish->boundary != 0 && power_above(wish->count) > alignment) {
        alignment = power_above(wish->count);
    }
    must = first_place(w, wish, alignment, &expected);
    CHECK(error == 0 || !must);
    if (error != 0) {
        return;
    }
    CHECK(must || (wish->boundary != 0 && first_place(w, wish, wish->alignment, &expected)));
    /* With a boundary, a place below what is preferred may be one that is not aligned. */
    if (w->cpus == 0 && must && (wish->boundary == 0 || !wish->prefers)) {
        CHECK(place == expected);
    }
}

/* It lies where it may, and where nothing else lives. */
static void check_range(const struct world *w, const struct wish *wish, uint64_t place)
{
    uint64_t last = place + wish->count - 1;

    CHECK(place >= w->model.first && last <= w->model.last && last >= place);
    CHECK(place % wish->alignment == 0 && last <= wish->limit);
    CHECK(wish->boundary == 0 || place / wish->boundary == last / wish->boundary);
    CHECK(iova_model_is_free(&w->model, place, last));
}

static void alloc(struct world *w, const struct piommu_iova_request *request, bool may_fail)
{
    uint64_t address = 1;
    struct wish wish = wish_of(w, request);
    int error = piommu_iova_alloc(w->space, request, &address);

    if (w->verbose) {
        fprintf(stderr,
                "alloc %#" PRIx64 " alignment %#" PRIx64 " limit %#" PRIx64 " preferred %#" PRIx64
                " boundary %#" PRIx64 ": %d, %#" PRIx64 "\n",
                request->size, request->alignment, request->limit, request->preferred,
                request->boundary, error, address);
    }
    CHECK(error == 0 || address == 1);
    if (request->boundary != 0 && request->size > request->boundary) {
        CHECK(error == -PIOMMU_EINVAL);
        return;
    }
    if (error == -PIOMMU_ENOMEM) {
        CHECK(may_fail);
        return;
    }
    CHECK(error == 0 || error == -PIOMMU_ENOSPC);
    check_place(w, &wish, error, address / w->granule);
    if (error == 0) {
        uint64_t place = address / w->granule;

        CHECK(address % w->granule == 0);
        check_range(w, &wish, place);
        iova_model_add(&w->model, (struct iova_live){place, place + wish.count - 1, request->size});
    }
}

static struct piommu_iova_request request_of(const struct world *w, const uint16_t *raw)
{
    uint64_t count = choose_count(w, raw[0], raw[1]);

    return (struct piommu_iova_request){
        .size = bytes_of(w, count) - (raw[0] % 64 < 32 ? 0 : raw[1] % w->granule),
        .alignment = choose_power(w, raw[2]) / (raw[2] % 128 == 0 ? 2 : 1),
        .limit = choose_limit(w, raw[3], raw[4]),
        .preferred = choose_limit(w, raw[5], raw[4]),
        .boundary = raw[6] % 4 == 0 ? choose_power(w, raw[6] / 4) : 0,
    };
}

/* ---- Calls ---- */

static void call_alloc(struct world *w, const uint16_t *raw)
{
    struct piommu_iova_request request = request_of(w, raw);
    bool fails = raw[6] / 2 % 16 == 1;

    fake_os_fail_call(w->os, fails ? 1 : 0, true);
    alloc(w, &request, fails);
    fake_os_fail_call(w->os, 0, false);
}

/* Many of one kind, so that small spaces become full. */
static void call_fill(struct world *w, const uint16_t *raw)
{
    for (unsigned int i = 0; i < 1 + raw[5] % FILL_RANGES; i++) {
        uint64_t count = 1 + (uint64_t)raw[1] * i % (1 + raw[2] % 64u);
        struct piommu_iova_request request = {.size = bytes_of(w, count),
                                              .limit = choose_limit(w, raw[3], raw[4])};

        w->cpu += raw[6] % 3;
        alloc(w, &request, false);
    }
}

static void release(struct world *w, size_t number)
{
    struct iova_live live = w->model.live[number];

    if (w->verbose) {
        fprintf(stderr, "free %#" PRIx64 " size %#" PRIx64 "\n", bytes_of(w, live.first),
                live.size);
    }
    CHECK(piommu_iova_free(w->space, bytes_of(w, live.first), live.size) == 0);
    iova_model_remove(&w->model, number);
}

static void call_free(struct world *w, const uint16_t *raw)
{
    if (w->model.count != 0) {
        release(w, raw[0] % w->model.count);
    }
}

static void call_free_some(struct world *w, const uint16_t *raw)
{
    for (unsigned int i = 0; i < FILL_RANGES && w->model.count != 0; i++) {
        w->cpu += raw[2] % 3;
        release(w, (raw[0] + (size_t)i * raw[1]) % w->model.count);
    }
}

/* A place or a size that is not one that lives; CPUs that keep ranges believe much. */
static void call_free_wrong(struct world *w, const uint16_t *raw)
{
    uint64_t address = choose_address(w, raw[0], raw[1]);
    uint64_t size = bytes_of(w, choose_count(w, raw[2], raw[3]));
    size_t number;

    if (raw[4] % 4 != 0) {
        address -= address % w->granule;
    }
    number = iova_model_from(&w->model, address / w->granule);
    if (number < w->model.count) {
        const struct iova_live *live = &w->model.live[number];

        size = raw[4] % 3 == 0 ? size : bytes_of(w, live->last - live->first + raw[5] % 3u);
        if (address == bytes_of(w, live->first) &&
            granules_of(w, size) == live->last - live->first + 1) {
            return;
        }
    }
    if (w->verbose) {
        fprintf(stderr, "wrong free %#" PRIx64 " size %#" PRIx64 "\n", address, size);
    }
    CHECK(w->cpus != 0 || piommu_iova_free(w->space, address, size) == -PIOMMU_EINVAL);
}

/* Adds what was taken, cut to the space. */
static void add_taken(struct world *w, uint64_t first, uint64_t last)
{
    if (first > w->model.last || last < w->model.first) {
        return;
    }
    first = first > w->model.first ? first : w->model.first;
    last = last < w->model.last ? last : w->model.last;
    iova_model_add(&w->model, (struct iova_live){first, last, bytes_of(w, last - first + 1)});
}

static void take(struct world *w, uint64_t address, uint64_t size, bool may_fail)
{
    uint64_t last = size - 1 > UINT64_MAX - address ? UINT64_MAX : address + (size - 1);
    bool is_free = iova_model_is_free(&w->model, address / w->granule, last / w->granule);
    int error = piommu_iova_take(w->space, (struct piommu_range){address, last});

    if (w->verbose) {
        fprintf(stderr, "take %#" PRIx64 " to %#" PRIx64 ": %d\n", address, last, error);
    }
    if (error == -PIOMMU_ENOMEM) {
        CHECK(may_fail);
    } else if (is_free) {
        CHECK(error == 0);
        add_taken(w, address / w->granule, last / w->granule);
    } else {
        CHECK(error == -PIOMMU_EEXIST);
    }
}

static void call_take(struct world *w, const uint16_t *raw)
{
    uint64_t address = choose_address(w, raw[0], raw[1]);
    uint64_t size = bytes_of(w, choose_count(w, raw[2], raw[3])) - raw[3] % w->granule;
    bool fails = raw[4] % 16 == 1;

    fake_os_fail_call(w->os, fails ? 1 : 0, true);
    take(w, address, size, fails);
    fake_os_fail_call(w->os, 0, false);
}

static void call_find(struct world *w, const uint16_t *raw)
{
    check_find(w, choose_address(w, raw[0], raw[1]));
    check_find(w, (uint64_t)raw[2] << 48 | (uint64_t)raw[3] << 32 | raw[4]);
}

static void call_drain(struct world *w, const uint16_t *raw)
{
    struct piommu_iova_statistics s;

    (void)raw;
    if (w->verbose) {
        fprintf(stderr, "drain\n");
    }
    piommu_iova_drain(w->space);
    piommu_iova_get_statistics(w->space, &s);
    CHECK(s.granules_kept == 0 && s.granules_taken == w->model.granules);
}

/* What was reserved suffices. */
static void call_reserve(struct world *w, const uint16_t *raw)
{
    uint32_t ranges = raw[0] % 24u;

    if (w->verbose) {
        fprintf(stderr, "reserve_memory %u\n", (unsigned int)ranges);
    }
    CHECK(piommu_iova_reserve_memory(w->space, ranges) == 0);
    fake_os_forbid(w->os, FAKE_OS_FORBID_ALLOCATION);
    for (uint32_t i = 0; i < ranges; i++) {
        uint16_t number = (uint16_t)(raw[1] + i * raw[2]);

        if (i % 3 == 0) {
            take(w, choose_address(w, number, (uint16_t)(number * 5u)), 1 + raw[3] % w->granule,
                 false);
        } else {
            struct piommu_iova_request request = {
                .size = bytes_of(w, 1 + number % 64u),
                .alignment = choose_power(w, raw[4]),
                .limit = choose_limit(w, raw[5], number),
            };

            alloc(w, &request, false);
        }
    }
    fake_os_forbid(w->os, 0);
}

static void call_move_to_cpu(struct world *w, const uint16_t *raw)
{
    w->cpu = raw[0] % 8 == 0 ? raw[1] * 65537u : raw[0];
}

static const struct {
    void (*call)(struct world *w, const uint16_t *raw);
    unsigned int weight; /* how often it is chosen, in parts of the sum */
} operations[] = {
    {call_alloc, 40},  {call_free, 20},       {call_take, 12}, {call_fill, 8},
    {call_find, 8},    {call_free_some, 6},   {call_drain, 2}, {call_free_wrong, 12},
    {call_reserve, 3}, {call_move_to_cpu, 6},
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* ---- Programs ---- */

static uint64_t next(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return *random >> 33;
}

static uint16_t choose_kind(uint64_t *random)
{
    unsigned int sum = 0;
    unsigned int number;
    uint16_t kind = 0;

    for (unsigned int i = 0; i < OPERATIONS; i++) {
        sum += operations[i].weight;
    }
    number = (unsigned int)(next(random) % sum);
    while (number >= operations[kind].weight) {
        number -= operations[kind++].weight;
    }
    return kind;
}

void iova_program_generate(struct iova_program *program, uint64_t seed, size_t length)
{
    uint64_t random = seed;

    next(&random);
    for (unsigned int i = 0; i < IOVA_PROGRAM_CONFIG; i++) {
        program->config[i] = (uint16_t)next(&random);
    }
    program->length = length;
    for (size_t i = 0; i < length; i++) {
        struct iova_operation *operation = &program->operations[i];

        operation->kind = choose_kind(&random);
        for (unsigned int j = 0; j < IOVA_PROGRAM_NUMBERS; j++) {
            operation->raw[j] = (uint16_t)next(&random);
        }
    }
}

static uint16_t decode_number(const uint8_t **bytes, size_t *size)
{
    uint16_t number = 0;

    for (unsigned int i = 0; i < 2 && *size != 0; i++) {
        number = (uint16_t)(number | *(*bytes)++ << (8 * i));
        --*size;
    }
    return number;
}

void iova_program_decode(struct iova_program *program, const uint8_t *bytes, size_t size)
{
    program->length = 0;
    for (unsigned int i = 0; i < IOVA_PROGRAM_CONFIG; i++) {
        program->config[i] = decode_number(&bytes, &size);
    }
    while (size != 0 && program->length < IOVA_PROGRAM_LENGTH) {
        struct iova_operation *operation = &program->operations[program->length++];

        operation->kind = decode_number(&bytes, &size);
        for (unsigned int j = 0; j < IOVA_PROGRAM_NUMBERS; j++) {
            operation->raw[j] = decode_number(&bytes, &size);
        }
    }
}

/* How many granules, and from where. A space cannot go beyond 2^43 of them, or 2^64 bytes. */
static void choose_space(struct world *w, const uint16_t *raw)
{
    static const unsigned int shifts[] = {12, 6, 16, 9, 30, 21, 12, 14};
    unsigned int shift = shifts[raw[0] % 8];
    uint64_t end = shift < 21 ? 1ull << 43 : 1ull << (64 - shift);
    uint64_t count;

    switch (raw[1] % 4) {
    case 0:
        count = 1 + (raw[2] % 700);
        break;
    case 1:
        count = 1000 + (raw[2] % 5000);
        break;
    case 2:
        count = 100000 + raw[2];
        break;
    default:
        count = (1ull << (shift == 30 ? 33 : 36)) + raw[2];
        break;
    }
    w->granule = 1ull << shift;
    switch (raw[3] % 4) {
    case 0:
        w->model.first = 0;
        break;
    case 1:
        w->model.first = end - count;
        break;
    default:
        w->model.first = raw[3] / 4;
        break;
    }
    w->model.last = w->model.first + (count - 1);
    while (count >> w->levels > 1) {
        w->levels++;
    }
}

static void open_world(struct world *w, const uint16_t *raw)
{
    static const unsigned int cpus[] = {0, 0, 0, 0, 1, 2, 3, 5};
    struct piommu_iova_config config = {0};

    choose_space(w, raw);
    w->model.bottom_up = raw[4] % 4 == 3;
    w->cpus = cpus[raw[5] % 8];
    fake_os_callbacks(w->os)->cpu = (raw[5] & 8) == 0 ? tell_cpu : NULL;
    config.granule = w->granule;
    config.bottom_up = w->model.bottom_up;
    config.cpus = w->cpus;
    config.aperture.first = bytes_of(w, w->model.first);
    config.aperture.last = bytes_of(w, w->model.last) + (w->granule - 1);
    /* Parts of granules at the edges. */
    if ((raw[4] & 4) != 0 && config.aperture.first != 0) {
        config.aperture.first -= raw[4] % w->granule;
    }
    if ((raw[4] & 8) != 0 && w->model.first + 65536 < 1ull << 33) {
        config.aperture.last += raw[4] % w->granule;
    }
    if (w->verbose) {
        fprintf(stderr,
                "create granule %#" PRIx64 " aperture %#" PRIx64 " to %#" PRIx64 " %s cpus %u\n",
                w->granule, config.aperture.first, config.aperture.last,
                config.bottom_up ? "upwards" : "downwards", w->cpus);
    }
    CHECK(piommu_iova_create(fake_os_host(w->os), &config, &w->space) == 0);
}

/* All can be given back, and then all is one. */
static void close_world(struct world *w)
{
    while (w->model.count != 0) {
        release(w, w->model.count - 1);
    }
    call_drain(w, NULL);
    if (w->model.last - w->model.first < LONGEST) {
        struct piommu_iova_request all = {.size = bytes_of(w, w->model.last - w->model.first + 1)};

        alloc(w, &all, false);
        CHECK(w->model.count == 1);
    }
    piommu_iova_destroy(w->space);
    CHECK(fake_os_bytes_outstanding(w->os) == 0);
    iova_model_destroy(&w->model);
}

void iova_program_run(const struct iova_program *program, struct fake_os *os, bool verbose)
{
    struct world w = {.os = os != NULL ? os : fake_os_create(NULL), .verbose = verbose};

    the_world = &w;
    open_world(&w, program->config);
    for (size_t i = 0; i < program->length; i++) {
        const struct iova_operation *operation = &program->operations[i];

        operations[operation->kind % OPERATIONS].call(&w, operation->raw);
        check_counters(&w);
    }
    close_world(&w);
    if (os == NULL) {
        fake_os_destroy(w.os);
    }
    the_world = NULL;
}
