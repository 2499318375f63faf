/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What hardware sees after each single store: all kinds of calls in some of all kinds of tables,
 * for walkers that snoop and for those that do not, where the cache writes back when it likes.
 * store_watch.h says what is looked at; here is what is done meanwhile.
 *
 * Where PIOMMU_RANDOM_STEPS asks for less than is usual, since all is slow there, fewer moments are
 * tried at which lines arrive.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <piommu/io-pgtable-dirty.h>

#include "instrumented/store_watch.h"
#include "pgtable_calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ       PIOMMU_PROT_READ
#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

#define S1_64 PIOMMU_ARM_64_LPAE_S1
#define S2_64 PIOMMU_ARM_64_LPAE_S2
#define S1_32 PIOMMU_ARM_32_LPAE_S1
#define S2_32 PIOMMU_ARM_32_LPAE_S2

#define GROUPS   PIOMMU_PGTABLE_CONTIGUOUS
#define BBM      PIOMMU_PGTABLE_BBM_LEVEL_2
#define DISJOINT PIOMMU_PGTABLE_DISJOINT

struct kind {
    enum piommu_pgtable_format format;
    uint32_t granule;
    uint8_t input;
    uint8_t output;
    uint32_t flags;
    uint16_t kept;
};

static const struct kind kinds[] = {
    {S1_64, 4096, 48, 48, 0, 0},
    {S1_64, 4096, 39, 48, GROUPS | PIOMMU_PGTABLE_TTBR1, 1},
    {S1_64, 4096, 52, 52, GROUPS | BBM, 0},
    {S2_64, 4096, 40, 40, GROUPS | PIOMMU_PGTABLE_XNX, 0},
    {S2_64, 4096, 42, 44, GROUPS | BBM | PIOMMU_PGTABLE_CONCATENATE, 2},
    {S1_64, 16384, 47, 48, GROUPS | PIOMMU_PGTABLE_NON_SECURE, 0},
    {S2_64, 16384, 48, 52, BBM | GROUPS, 0},
    {S1_64, 65536, 52, 52, GROUPS, 0},
    {S2_64, 65536, 42, 48, BBM, 1},
    {S1_32, 4096, 32, 40, 0, 0},
    {S2_32, 4096, 40, 40, BBM, 1},
    {S1_64, 4096, 48, 48, DISJOINT | GROUPS, 0},
    {S2_64, 4096, 40, 40, DISJOINT | BBM, 1},
    {S1_64, 16384, 36, 48, DISJOINT, 0},
    {S2_64, 65536, 42, 52, DISJOINT | GROUPS | BBM, 2},
};

static const struct kind dirty_kinds[] = {
    {S1_64, 4096, 48, 48, GROUPS, 0},
    {S2_64, 4096, 40, 40, GROUPS | BBM, 0},
    {S1_64, 16384, 47, 48, BBM, 0},
    {S2_64, 65536, 42, 52, GROUPS | DISJOINT, 0},
};

static bool is_slow(void)
{
    const char *text = getenv("PIOMMU_RANDOM_STEPS");

    return text != NULL && *text != '\0' && strtoull(text, NULL, 0) < 60000;
}

/* What is being tried, for a failure. */
struct attempt {
    const struct kind *kind;
    bool coherent;
    bool scattered;
    uint64_t seed;
};

static void describe(const void *what)
{
    const struct attempt *attempt = what;

    fprintf(stderr, "format %d, granule %u, %u bits to %u, flags 0x%x, %s, %s, seed %u\n",
            (int)attempt->kind->format, (unsigned int)attempt->kind->granule, attempt->kind->input,
            attempt->kind->output, (unsigned int)attempt->kind->flags,
            attempt->coherent ? "coherent" : "not coherent",
            attempt->scattered ? "scattered" : "linear", (unsigned int)attempt->seed);
}

static struct fake_os *hosts[2][2];

static struct pgtable_run *open_run(const struct attempt *attempt)
{
    struct fake_os **host = &hosts[attempt->scattered][attempt->coherent];
    const struct kind *kind = attempt->kind;
    struct piommu_pgtable_config config = {
        .format = kind->format,
        .granule = kind->granule,
        .input_bits = kind->input,
        .output_bits = kind->output,
        .coherent_walk = attempt->coherent,
        .empty_tables_kept = kind->kept,
        .flags = kind->flags,
    };
    struct pgtable_host_options options = {.scattered = attempt->scattered, .placement = 1};

    if (*host == NULL) {
        *host = fake_os_create(&(struct fake_os_options){
            .scattered = attempt->scattered, .non_coherent = !attempt->coherent, .seed = 7});
    }
    options.os = *host;
    store_watch_seed(attempt->seed);
    return run_open(&config, &options, attempt->seed);
}

static void map(struct pgtable_run *run, uint64_t iova, uint64_t physical, uint64_t size,
                piommu_prot prot, uint32_t budget_seed)
{
    struct map_request request = {
        .iova = iova,
        .segments = {{.physical = physical, .size = size}},
        .count = 1,
        .prot = prot,
        .how = budget_seed != 0 ? MAP_PORTIONS : MAP_PLAIN,
        .budget_seed = budget_seed,
    };

    run_map(run, &request);
}

/* Pieces that do not go on from one to the next, so that there are no large leaves. */
static void map_pieces(struct pgtable_run *run, uint64_t iova, uint64_t physical)
{
    struct map_request request = {.iova = iova, .count = 4, .prot = READ_WRITE, .how = MAP_LIST};
    uint64_t granule = run->rules->config.granule;

    for (size_t i = 0; i < request.count; i++) {
        request.segments[i].size = (1 + 5 * i) * granule;
        request.segments[i].physical = physical + 64 * i * granule;
    }
    run_map(run, &request);
}

static void clear(struct pgtable_run *run)
{
    const struct piommu_range *aperture = &run->rules->aperture;

    run_unmap(run, aperture->first, aperture->last - aperture->first + 1);
    run_sync(run, SYNC_TRIM);
    run_sync_all(run);
    CHECK(run->m.count == 0);
}

/* The largest size that is not too many of the smaller leaves. */
static uint64_t size_to_cut(const struct pgtable_run *run)
{
    size_t i = 0;

    while (i + 2 < run->rules->size_count && run->rules->sizes[i] > 1ull << 30) {
        i++;
    }
    return run->rules->sizes[i];
}

/* Around an address where tables of all levels end, if there are several. */
static uint64_t middle_of(const struct pgtable_run *run)
{
    const struct piommu_range *aperture = &run->rules->aperture;

    return aperture->first + (aperture->last - aperture->first) / 2 + 1;
}

static void map_and_unmap(struct pgtable_run *run)
{
    uint64_t granule = run->rules->config.granule;
    uint64_t middle = middle_of(run);

    map(run, middle - granule, 0, granule, READ, 0);
    map(run, middle, granule, granule, READ, 0);
    map(run, middle - 20 * granule, 64 * granule, 40 * granule, READ_WRITE, 0); /* a conflict */
    map(run, middle + 3 * granule, 128 * granule, 150 * granule, READ_WRITE, 5);
    map_pieces(run, middle + 400 * granule, 256 * granule);
    run_unmap(run, middle - granule, 2 * granule);
    run_sync(run, SYNC_DETACH);
    map(run, middle - granule, 0, 2 * granule, READ, 0);
    run_unmap_portions(run, middle + 3 * granule, 150 * granule, 3);
    run_unmap_leaves(run, middle + 401 * granule, middle + 403 * granule - 1);
    run_sync(run, SYNC_FAILS);
    run_unmap(run, middle - 20 * granule, 40 * granule);
    run_sync(run, SYNC_DETACH);
    clear(run);
}

static void map_blocks(struct pgtable_run *run)
{
    for (size_t i = 0; i < run->rules->size_count; i++) {
        uint64_t size = run->rules->sizes[i];
        uint64_t iova = middle_of(run) - size;

        if (size > run->rules->output_last / 4 || iova < run->rules->aperture.first) {
            continue;
        }
        map(run, iova, size, size, READ_WRITE, 0);
        map(run, iova + size, 2 * size, size, READ, 7);
        run_unmap(run, iova, size);
        run_unmap_leaves(run, iova + size + 5, iova + size + 6);
        run_sync(run, SYNC_DETACH);
        /* Where there was a table before, and where a block was. */
        map(run, iova, size, run->rules->config.granule, READ, 0);
        clear(run);
    }
}

static void cut(struct pgtable_run *run, bool fails)
{
    uint64_t granule = run->rules->config.granule;
    uint64_t size = size_to_cut(run);
    uint64_t starts[] = {0, granule, size / 2, size - granule};

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        uint64_t iova = middle_of(run) - size;

        map(run, iova, size, 2 * size, READ_WRITE, 0);
        run_cut(run, iova + starts[i], granule, fails, 0);
        run_sync(run, SYNC_DETACH);
        run_cut(run, iova + size - granule, 2 * granule, fails, 0); /* two leaves */
        run_sync(run, SYNC_DETACH);
        /* The smaller ones that a cut has made. */
        run_cut(run, iova + size + granule, size - 2 * granule, false, i == 2 ? 1 : 0);
        clear(run);
    }
}

static void protect(struct pgtable_run *run)
{
    uint64_t granule = run->rules->config.granule;
    uint64_t group = run->rules->sizes[run->rules->size_count - 2];
    uint64_t size = group < 256 * granule ? group : 3 * granule;
    uint64_t iova = middle_of(run) - size;

    for (piommu_prot from = 0; from <= PIOMMU_PROT_ACCESS; from++) {
        if (rules_judge_access(run->rules, from) != 0) {
            continue;
        }
        map(run, iova, size, size, from, 0);
        map(run, iova + size, 8 * size, granule, from, 0);
        for (piommu_prot to = 0; to <= PIOMMU_PROT_ACCESS; to++) {
            if (rules_judge_access(run->rules, to) == 0) {
                run_protect(run, iova, size + granule, to | PIOMMU_PROT_SOFTWARE(to), 0);
                run_protect(run, iova, size + granule, from, to);
            }
        }
        run_sync(run, SYNC_DETACH);
        clear(run);
    }
}

static void use_the_reserve(struct pgtable_run *run)
{
    uint64_t granule = run->rules->config.granule;

    run_reserve(run, 6, 0);
    for (unsigned int i = 0; i < 4; i++) {
        map(run, middle_of(run) - granule, 0, 2 * granule, READ_WRITE, 0);
        run_unmap(run, middle_of(run) - granule, granule);
        run_sync(run, i % 2 == 0 ? SYNC_TRIM : SYNC_FAILS_AND_MOVES);
        run_unmap(run, middle_of(run), granule);
        run_sync(run, SYNC_DETACH);
    }
    run_unreserve(run, 4);
    clear(run);
}

static void try_all(const struct attempt *attempt)
{
    struct pgtable_run *run;

    pgtable_describe(describe, attempt);
    run = open_run(attempt);
    if (run != NULL) {
        map_and_unmap(run);
        map_blocks(run);
        cut(run, false);
        cut(run, true);
        protect(run);
        use_the_reserve(run);
        run_close(run, 0);
    }
    pgtable_describe(NULL, NULL);
}

static void a_walker_that_snoops_sees_old_or_new_after_every_store(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        try_all(&(struct attempt){&kinds[i], true, i % 2 == 0, i});
    }
}

static void a_walker_that_does_not_sees_so_whenever_lines_arrive(void **state)
{
    uint64_t seeds = is_slow() ? 1 : 4;

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (uint64_t seed = 0; seed < seeds; seed++) {
            try_all(&(struct attempt){&kinds[i], false, i % 2 == 1, seed * 1000 + i});
        }
    }
}

static void there_was_something_to_look_at(void **state)
{
    struct store_watch_counts counts = store_watch_counts();

    (void)state;
    printf("%llu calls, %llu stores, %llu changes, %llu walks, %llu arrivals, %llu lines leaked\n",
           (unsigned long long)counts.calls, (unsigned long long)counts.stores,
           (unsigned long long)counts.changes, (unsigned long long)counts.walks,
           (unsigned long long)counts.arrivals, (unsigned long long)counts.leaks);
    assert_true(counts.changes > counts.calls);
    assert_true(counts.walks > counts.calls);
    assert_true(counts.arrivals > 1000 && counts.leaks > 100);
}

/* ---- Devices that write in the middle of a call ---- */

/* Lets a device write before the nth atomic access from now on. */
struct intrusion {
    struct pgtable_run *run;
    uint64_t address;
    uint64_t countdown; /* 0: it has been */
    bool allowed;       /* the write */
};

static void intrude(void *ctx)
{
    static const struct piommu_walker_access write = {.write = true, .privileged = true};
    struct intrusion *intrusion = ctx;
    struct piommu_walker_result result;

    if (intrusion->countdown == 0 || --intrusion->countdown != 0) {
        return;
    }
    piommu_walker_translate(&intrusion->run->h->regime, &intrusion->run->h->memory,
                            intrusion->address, &write, &result);
    intrusion->allowed = result.fault == PIOMMU_WALKER_FAULT_NONE;
}

enum tracked_call { READ_AND_CLEAR, STOP, START_AGAIN, PROTECT_SOFTWARE, PROTECT_WRITE };

/* Returns whether a write to the page before the call, or in it, is told by the call itself. */
static bool make_tracked_call(struct pgtable_run *run, enum tracked_call call, uint64_t iova,
                              uint64_t size)
{
    uint64_t granule = run->rules->config.granule;
    uint64_t number = 0;
    uint8_t bitmap[64] = {0};

    switch (call) {
    case READ_AND_CLEAR:
        CHECK(size / granule <= 8 * sizeof(bitmap));
        CHECK(piommu_pgtable_read_dirty(run->h->table, iova, size, granule, bitmap, true,
                                        &run->gathers[0], &number) == 0);
        return (bitmap[0] & 2) != 0;
    case STOP:
        CHECK(piommu_pgtable_track_dirty(run->h->table, false, &run->gathers[0]) == 0);
        break;
    case START_AGAIN:
        CHECK(piommu_pgtable_track_dirty(run->h->table, true, &run->gathers[0]) == 0);
        break;
    default:
        CHECK(piommu_pgtable_protect(run->h->table, iova, size,
                                     call == PROTECT_WRITE ? READ
                                                           : READ_WRITE | PIOMMU_PROT_SOFTWARE(3),
                                     &run->gathers[0], &number) == 0);
        break;
    }
    return false;
}

/*
 * A page of some is written before the nth access of a call. Whatever the moment, the write is
 * told by this call or can still be read afterwards; and a call after which there is no tracking
 * comes to its end.
 */
static bool try_moment(struct pgtable_run *run, enum tracked_call call, uint64_t moment,
                       uint64_t size)
{
    static const struct piommu_walker_access nothing = {.privileged = true};
    uint64_t granule = run->rules->config.granule;
    uint64_t iova = middle_of(run) - size;
    struct intrusion intrusion = {.run = run, .address = iova + granule + 8, .countdown = moment};
    struct piommu_walker_result result;
    uint64_t mapped;
    bool told;

    CHECK(piommu_pgtable_track_dirty(run->h->table, true, &run->gathers[0]) == 0);
    CHECK(piommu_pgtable_map(run->h->table, iova, size, size, READ_WRITE, &mapped) == 0);
    store_watch_before(intrude, &intrusion);
    told = make_tracked_call(run, call, iova, size);
    store_watch_before(NULL, NULL);
    piommu_walker_translate(&run->h->regime, &run->h->memory, intrusion.address, &nothing, &result);
    CHECK(result.fault == PIOMMU_WALKER_FAULT_NONE);
    CHECK(result.output == size + granule + 8);
    if (intrusion.countdown == 0 && intrusion.allowed) {
        switch (call) {
        case READ_AND_CLEAR:
        case START_AGAIN:
        case PROTECT_SOFTWARE:
            /* The dirty state of a group is that of any of its members. */
            CHECK(told || result.attributes.dirty);
            break;
        default:
            CHECK(!result.attributes.dirty_bit_modifier);
            break;
        }
    }
    CHECK(intrusion.allowed || intrusion.countdown != 0 || call == PROTECT_WRITE);
    CHECK(piommu_pgtable_unmap(run->h->table, iova, size, &run->gathers[0], &mapped) == 0);
    piommu_pgtable_detach_empty(run->h->table, &run->gathers[0]);
    stale_tlb_invalidate_all(run->h->tlb);
    piommu_pgtable_release(run->h->table, &run->gathers[0]);
    return intrusion.countdown == 0;
}

static void a_write_in_the_middle_of_a_call_is_never_lost(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(dirty_kinds) / sizeof(dirty_kinds[0]); i++) {
        struct kind kind = dirty_kinds[i];
        struct attempt attempt = {.kind = &kind, .coherent = true, .scattered = false};
        struct pgtable_run *run;

        kind.flags |= PIOMMU_PGTABLE_DIRTY;
        pgtable_describe(describe, &attempt);
        run = open_run(&attempt);
        if (run == NULL) {
            continue; /* no dirty tracking on this host */
        }
        for (enum tracked_call call = READ_AND_CLEAR; call <= PROTECT_WRITE; call++) {
            uint64_t granule = kind.granule;
            uint64_t group = run->rules->sizes[run->rules->size_count - 2];
            uint64_t sizes[] = {3 * granule, group / granule <= 128 ? group : 5 * granule};

            for (size_t j = 0; j < 2; j++) {
                uint64_t moment = 1;

                /* What comes later in a large group is like what was before. */
                while (try_moment(run, call, moment, sizes[j])) {
                    moment += moment < 24 ? 1 : is_slow() ? 31 : 7;
                }
                assert_true(moment > 3);
            }
        }
        run_close(run, 0);
        pgtable_describe(NULL, NULL);
    }
}

static int close_hosts(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 4; i++) {
        if (hosts[i / 2][i % 2] != NULL) {
            fake_os_destroy(hosts[i / 2][i % 2]);
        }
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walker_that_snoops_sees_old_or_new_after_every_store),
        cmocka_unit_test(a_walker_that_does_not_sees_so_whenever_lines_arrive),
        cmocka_unit_test(there_was_something_to_look_at),
        cmocka_unit_test(a_write_in_the_middle_of_a_call_is_never_lost),
    };

    return cmocka_run_group_tests(tests, NULL, close_hosts);
}
