/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_program.h"

#include "random_programs.h"
#include "viommu_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEVICES   3u
#define SOFTWARE  2u
#define ENDPOINTS (DEVICES + SOFTWARE)
#define PAGES     40u
#define RW        (VIOMMU_READ | VIOMMU_WRITE)
/* Guest memory of which a fragment is so large that all of it is mapped soon. */
#define LARGE_FRAGMENT 512u

enum kind {
    KIND_ATTACH,
    KIND_DETACH,
    KIND_MAP,
    KIND_UNMAP,
    KIND_PROBE,
    KIND_GARBAGE,
    KIND_SERVICE,
    KIND_SERVICE_ALL,
    KIND_RESET,
    KIND_SYSTEM_RESET,
    KIND_REMOVE,
    KIND_ADD,
    KIND_BYPASS,
    KIND_FAULT,
    KIND_EVENT,
    KIND_FRAMING,
    KIND_MIGRATE,
    KIND_RINGS,
    KINDS,
};

static const char *const names[KINDS] = {
    "attach",  "detach",      "map",   "unmap",        "probe",   "garbage",
    "service", "service all", "reset", "system reset", "remove",  "add",
    "bypass",  "fault",       "event", "framing",      "migrate", "rings"};

/* How often each is chosen, in parts of the sum. */
static const unsigned int weights[KINDS] = {
    [KIND_ATTACH] = 24, [KIND_DETACH] = 8,       [KIND_MAP] = 40,     [KIND_UNMAP] = 24,
    [KIND_PROBE] = 3,   [KIND_GARBAGE] = 8,      [KIND_SERVICE] = 24, [KIND_SERVICE_ALL] = 24,
    [KIND_RESET] = 1,   [KIND_SYSTEM_RESET] = 1, [KIND_REMOVE] = 4,   [KIND_ADD] = 6,
    [KIND_BYPASS] = 4,  [KIND_FAULT] = 4,        [KIND_EVENT] = 4,    [KIND_FRAMING] = 2,
    [KIND_MIGRATE] = 3, [KIND_RINGS] = 3,
};

static uint64_t next_random(uint64_t *random)
{
    *random = *random * 6364136223846793005ull + 1442695040888963407ull;
    return *random >> 33;
}

void viommu_program_fill(struct viommu_program *program, uint64_t seed, size_t length,
                         const unsigned int *weights_of_kinds, unsigned int kinds)
{
    uint64_t random = seed;
    unsigned int sum = 0;

    for (unsigned int i = 0; i < kinds; i++) {
        sum += weights_of_kinds[i];
    }
    for (unsigned int i = 0; i < VIOMMU_PROGRAM_CONFIG; i++) {
        program->config[i] = (uint16_t)next_random(&random);
    }
    program->length = length;
    for (size_t i = 0; i < length; i++) {
        unsigned int number = (unsigned int)(next_random(&random) % sum);
        uint16_t kind = 0;

        while (number >= weights_of_kinds[kind]) {
            number -= weights_of_kinds[kind++];
        }
        program->operations[i].kind = kind;
        for (unsigned int j = 0; j < VIOMMU_PROGRAM_NUMBERS; j++) {
            program->operations[i].raw[j] = (uint16_t)next_random(&random);
        }
    }
}

void viommu_program_generate(struct viommu_program *program, uint64_t seed, size_t length)
{
    viommu_program_fill(program, seed, length, weights, KINDS);
}

/* ---- What numbers mean; 0 is the simplest ---- */

/* Once in `often`, told by bits that mean nothing else. */
static bool rarely(uint16_t raw, unsigned int often)
{
    return (raw >> 8) % often == often - 1;
}

static uint32_t domain_of(uint16_t raw)
{
    return rarely(raw, 32) ? UINT32_MAX - raw % 2u : raw % 5u;
}

static uint32_t endpoint_of(uint16_t raw)
{
    const unsigned int number = raw % ENDPOINTS;

    if (rarely(raw, 32)) {
        return 0x55;
    }
    return number < DEVICES ? ENGINE_DEVICE(number) : ENGINE_SOFTWARE(number - DEVICES);
}

static uint32_t map_flags_of(uint16_t raw)
{
    static const uint32_t flags[] = {RW, RW, VIOMMU_READ, VIOMMU_WRITE, RW, RW};

    return rarely(raw, 16) ? 1u << raw % 32 : flags[raw % 6];
}

/* An address of the guest's memory, mostly of what there is. */
static uint64_t guest_of(uint16_t raw)
{
    static const uint64_t edges[] = {ENGINE_ROM - 2 * CORE_PAGE, ENGINE_MEMORY - 2 * CORE_PAGE,
                                     ENGINE_REGISTERS, UINT64_MAX - CORE_PAGE + 1, 0x1001};

    return rarely(raw, 12) ? edges[raw % 5] : (raw % 256u) * CORE_PAGE;
}

/* A range of addresses, mostly among the pages that are compared. */
static struct piommu_range range_of(const struct engine_bench *bench, const uint16_t *raw)
{
    const uint64_t first = (raw[0] % PAGES) * CORE_PAGE;
    const uint64_t last = first + (1 + raw[1] % 7u) * CORE_PAGE - 1;
    const bool all = bench->options.fragment == LARGE_FRAGMENT;
    const struct piommu_range odd[] = {{first, last + 1},
                                       {first + 1, last},
                                       {last, first},
                                       {first, first},
                                       {(1ull << 39) - CORE_PAGE, (1ull << 39) + CORE_PAGE - 1},
                                       {UINT64_MAX - CORE_PAGE + 1, UINT64_MAX},
                                       {0, all ? UINT64_MAX : last}};

    if (rarely(raw[1], 12)) {
        return odd[raw[0] % (sizeof(odd) / sizeof(odd[0]))];
    }
    return (struct piommu_range){first, last};
}

/* ---- What is done ---- */

/* Takes over all answers that there are. */
static void drain(struct engine_bench *bench)
{
    struct engine_answer answer;
    uint32_t length;

    while (engine_answer(bench, &answer)) {
    }
    while (engine_event(bench, &length) != NULL) {
        assert_true(length == 0 || length == ENGINE_EVENT_SIZE);
    }
}

/* Rings go, and come back. */
static void set_rings(struct engine_bench *bench, unsigned int gone)
{
    for (unsigned int queue = 0; queue < 2; queue++) {
        bench->ring_gone[queue] = (gone >> queue) % 2 != 0;
    }
}

static void service_all(struct engine_bench *bench)
{
    set_rings(bench, 0);
    engine_service(bench);
    drain(bench);
    assert_int_equal(bench->posted, bench->answered);
    engine_check(bench);
}

static void service_some(struct engine_bench *bench, unsigned int calls)
{
    for (unsigned int i = 0; i < calls; i++) {
        (void)piommu_viommu_service(bench->viommu, bench->budget);
        drain(bench);
    }
}

static void post(struct engine_bench *bench, const struct engine_request *request)
{
    /* In pieces of a byte there is room for one. */
    if (bench->framing != ENGINE_IN_TWO ||
        (uint16_t)(bench->posted - bench->answered) >= ENGINE_SLOTS - 1) {
        service_all(bench);
    }
    (void)engine_post(bench, request);
}

static void post_garbage(struct engine_bench *bench, const uint16_t *raw)
{
    const struct piommu_range range = range_of(bench, raw + 1);
    struct engine_request request =
        engine_map_request(domain_of(raw[0]), range.first, range.last, guest_of(raw[3]), raw[4]);

    request.bytes[0] = (uint8_t)(raw[5] % 8);
    request.readable = raw[3] % 100u;
    request.writable = request.readable == 0 ? 1 + raw[4] % 110u : raw[4] % 110u;
    post(bench, &request);
}

static void post_request(struct engine_bench *bench, enum kind kind, const uint16_t *raw)
{
    const struct piommu_range range = range_of(bench, raw + 1);
    struct engine_request request;

    switch (kind) {
    case KIND_ATTACH:
        request = engine_attach_request(domain_of(raw[0]), endpoint_of(raw[1]),
                                        rarely(raw[2], 6) ? raw[2] % 3u : 0);
        engine_put(&request, 16, rarely(raw[3], 32) ? raw[3] : 0, 4);
        break;
    case KIND_DETACH:
        request = engine_detach_request(domain_of(raw[0]), endpoint_of(raw[1]));
        break;
    case KIND_MAP:
        request = engine_map_request(domain_of(raw[0]), range.first, range.last, guest_of(raw[3]),
                                     map_flags_of(raw[4]));
        break;
    case KIND_UNMAP:
        request = engine_unmap_request(domain_of(raw[0]), range.first, range.last);
        break;
    default:
        request = engine_probe_request(endpoint_of(raw[1]));
        break;
    }
    post(bench, &request);
}

/* What is half done, or was not looked at, is forgotten. */
static void reset(struct engine_bench *bench, bool system)
{
    if (system) {
        guest_model_reset(bench->model);
        (void)piommu_viommu_system_reset(bench->viommu);
        bench->bypassed = bench->options.starts_bypassed;
        engine_check_reach(bench);
        engine_service(bench);
        engine_start(bench);
        engine_check(bench);
    } else {
        engine_reset(bench);
    }
}

static void remove_endpoint(struct engine_bench *bench, unsigned int number)
{
    int error;

    if (bench->endpoints[number].endpoint == NULL) {
        return;
    }
    error = engine_remove(bench, number);
    if (error == -PIOMMU_EAGAIN) {
        service_all(bench);
        error = engine_remove(bench, number);
    }
    assert_int_equal(error, 0);
}

static void add_endpoint(struct engine_bench *bench, const uint16_t *raw)
{
    const struct piommu_reserved_region regions[] = {
        {.range = {10 * CORE_PAGE, 12 * CORE_PAGE - 1}, .kind = PIOMMU_RESERVED},
        {.range = {20 * CORE_PAGE + 5, 20 * CORE_PAGE + 6}, .kind = PIOMMU_RESERVED_MSI},
    };

    if (bench->endpoints[raw[0] % ENDPOINTS].endpoint == NULL) {
        /* A request that has begun without it goes on so. */
        service_all(bench);
        assert_int_equal(engine_add_with(bench, raw[0] % ENDPOINTS, regions, raw[1] % 3u), 0);
    }
}

static void report_fault(struct engine_bench *bench, const uint16_t *raw)
{
    const struct piommu_fault fault = {.reason = (enum piommu_fault_reason)(raw[1] % 8),
                                       .iova_valid = raw[2] % 2 != 0,
                                       .iova = raw[3]};

    (void)piommu_viommu_report_fault(bench->viommu, endpoint_of(raw[0]), &fault);
}

static void post_event(struct engine_bench *bench, uint16_t raw)
{
    if ((uint16_t)(bench->events_posted - bench->events_taken) < ENGINE_EVENTS) {
        engine_post_event(bench, rarely(raw, 4) ? 1 + raw % 30u : ENGINE_EVENT_SIZE);
    }
}

static void run_operation(struct engine_bench *bench, const struct viommu_operation *operation)
{
    const enum kind kind = (enum kind)(operation->kind % KINDS);
    const uint16_t *raw = operation->raw;

    switch (kind) {
    case KIND_GARBAGE:
        post_garbage(bench, raw);
        break;
    case KIND_SERVICE:
        bench->budget = 1 + raw[1] % 20u;
        service_some(bench, 1 + raw[0] % 5u);
        break;
    case KIND_SERVICE_ALL:
        bench->budget = rarely(raw[0], 2) ? UINT32_MAX : 1 + raw[0] % 9u;
        service_all(bench);
        break;
    case KIND_RESET:
    case KIND_SYSTEM_RESET:
        reset(bench, kind == KIND_SYSTEM_RESET);
        break;
    case KIND_REMOVE:
        remove_endpoint(bench, raw[0] % ENDPOINTS);
        break;
    case KIND_ADD:
        add_endpoint(bench, raw);
        break;
    case KIND_BYPASS:
        engine_write_bypass(bench, (uint8_t)raw[0]);
        break;
    case KIND_FAULT:
        report_fault(bench, raw);
        break;
    case KIND_EVENT:
        post_event(bench, raw[0]);
        break;
    case KIND_FRAMING:
        service_all(bench);
        bench->framing = (enum engine_framing)(raw[0] % 3);
        break;
    case KIND_MIGRATE:
        engine_migrate(bench);
        drain(bench);
        break;
    case KIND_RINGS:
        set_rings(bench, raw[0]);
        break;
    default:
        post_request(bench, kind, raw);
        break;
    }
}

/* ---- Running ---- */

static const uint16_t *chosen;

static void adjust(struct piommu_viommu_config *config)
{
    if (chosen[3] % 4 == 1) {
        config->input = (struct piommu_range){2 * CORE_PAGE, 35 * CORE_PAGE - 1};
    }
    if (chosen[4] % 4 == 1) {
        config->last_domain = 3;
    }
    if (chosen[5] % 4 == 1) {
        config->max_domains = 2;
    }
    if (chosen[6] % 4 == 1) {
        config->max_mappings = 8;
    }
}

static struct engine_options options_of(const uint16_t *config)
{
    static const uint64_t fragments[] = {16, 1, 4, LARGE_FRAGMENT};
    const bool requests = config[0] % 2 != 0;

    return (struct engine_options){
        .core = core_cases[requests ? 2 : 0],
        .devices = DEVICES,
        .software = SOFTWARE,
        .fragment = fragments[config[1] % 4],
        .write_only = requests && config[0] % 4 == 3,
        .bypass = config[2] % 3 != 0,
        .starts_bypassed = config[2] % 3 == 2,
        .refused = (config[7] % 4 == 1 ? PIOMMU_VIOMMU_F_MMIO : 0) |
                   (config[7] % 5 == 1 ? PIOMMU_VIOMMU_F_BYPASS_CONFIG : 0),
        .adjust = adjust,
    };
}

void viommu_program_print(size_t number, const char *name, const struct viommu_operation *operation)
{
    printf("%3zu %-12s", number, name);
    for (unsigned int i = 0; i < VIOMMU_PROGRAM_NUMBERS; i++) {
        printf(" %#" PRIx16, operation->raw[i]);
    }
    printf("\n");
    fflush(stdout);
}

void viommu_program_run(const struct viommu_program *program, bool verbose)
{
    struct engine_options options;
    struct engine_bench *bench;

    chosen = program->config;
    options = options_of(program->config);
    bench = engine_open(&options);
    for (size_t i = 0; i < program->length; i++) {
        if (verbose) {
            viommu_program_print(i, names[program->operations[i].kind % KINDS],
                                 &program->operations[i]);
        }
        run_operation(bench, &program->operations[i]);
    }
    service_all(bench);
    assert_int_equal(bench->needed_resets, 0);
    engine_close(bench);
}

/* ---- The random test ---- */

static struct viommu_program program_of_test;
static viommu_program_maker *maker_of_test;
static viommu_program_runner *runner_of_test;

static uint16_t *numbers_of(void *operation)
{
    return ((struct viommu_operation *)operation)->raw;
}

static void generate_for_test(void *generated, uint64_t seed, size_t length)
{
    maker_of_test(generated, seed, length);
}

static void run_for_test(const void *tried, bool verbose)
{
    runner_of_test(tried, verbose);
}

int viommu_program_main(const char *name, uint64_t steps, viommu_program_maker *generate,
                        viommu_program_runner *run, int argc, char **argv)
{
    struct viommu_program *program = &program_of_test;
    const struct random_programs programs = {
        .name = name,
        .default_steps = steps,
        .longest = VIOMMU_PROGRAM_LENGTH,
        .shrinking = {.operations = program->operations,
                      .operation_size = sizeof(program->operations[0]),
                      .length = &program->length,
                      .numbers = numbers_of,
                      .number_count = VIOMMU_PROGRAM_NUMBERS,
                      .config = program->config,
                      .config_count = VIOMMU_PROGRAM_CONFIG},
        .program = program,
        .generate = generate_for_test,
        .run = run_for_test,
    };

    maker_of_test = generate;
    runner_of_test = run;
    return random_programs_main(&programs, argc, argv);
}
