/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef TEST_IO_PGTABLE_FIXTURE_H
#define TEST_IO_PGTABLE_FIXTURE_H

/*
 * A page table under observation, for the tests of io-pgtable.h.
 *
 * Between the library and the strict host stands an observer that knows every table. It asks at
 * each barrier what a walker may have seen since the one before, whatever the order in which the
 * stores of that time arrived:
 *  - a table that was linked had nothing but its final content, or invalid descriptors, before;
 *  - no valid descriptor became another valid descriptor;
 *  - a table that was taken out of the tree holds no valid descriptor.
 * On a host whose walker does not snoop, the walker's own view is checked at each clean, too.
 */

#include <piommu/error.h>
#include <piommu/io-pgtable.h>

#include "fake_os.h"
#include "lpae_walker.h"
#include "stale_tlb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)
#define TIB (1024ull * GIB)

#define READ       PIOMMU_PROT_READ
#define WRITE      PIOMMU_PROT_WRITE
#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

/* With more tables than this the walker's view is not checked in the middle of a call. */
#define WATCHED_PIECES 20u

#define OBSERVED_PAGES (FAKE_OS_MEMORY_SIZE / FAKE_OS_PAGE_SIZE)

/* A table, or the tables of a root. */
struct observed_piece {
    uint64_t physical;
    size_t size;
    const uint8_t *memory;
    uint8_t *before; /* the content at the last barrier */
    int level;
    uint64_t input;  /* the first address that it translates */
    bool linked;     /* the root reaches it */
    bool was_linked; /* it did at the last barrier */
    bool once_linked;
    bool empty;
    struct observed_piece *next;
};

struct pgt {
    struct fake_os *os;
    bool owns_os;
    struct piommu_os shim;
    struct piommu_os below; /* the strict host */
    struct piommu_host host;
    struct piommu_pgtable_config config;
    struct piommu_pgtable *table;
    struct piommu_pgtable_info info;
    struct walker_regime regime;
    struct walker_memory memory;
    struct stale_tlb *tlb;

    struct observed_piece *pieces;
    struct observed_piece *piece_at[OBSERVED_PAGES]; /* by first page */
    size_t piece_count;
    bool ready;          /* the regime is known */
    bool is_torn_down;   /* hardware no longer uses the table */
    bool is_watched;     /* observe at each barrier and clean */
    size_t linked_count; /* without the root */
    size_t empty_count;  /* of these */
    bool unsynced;       /* something was unmapped and not invalidated */

    struct piommu_dma_request last_request;
    uint64_t requests;
    uint64_t write_barriers;
};

static inline uint64_t little_endian_word(const uint8_t *bytes)
{
    uint64_t value = 0;

    for (unsigned int i = 0; i < 8; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static inline struct observed_piece *observed_at(const struct pgt *p, uint64_t physical)
{
    if (physical < FAKE_OS_MEMORY_BASE || physical - FAKE_OS_MEMORY_BASE >= FAKE_OS_MEMORY_SIZE) {
        return NULL;
    }
    return p->piece_at[(physical - FAKE_OS_MEMORY_BASE) / FAKE_OS_PAGE_SIZE];
}

/* Follows the links as the CPU has stored them. At most four levels deep. */
static inline void observe_links(struct pgt *p, struct observed_piece *piece, int level,
                                 uint64_t input)
{
    bool empty = true;

    if (piece->linked) {
        fail_msg("table 0x%llx is linked twice", (unsigned long long)piece->physical);
    }
    piece->linked = true;
    piece->once_linked = true;
    piece->level = level;
    piece->input = input;
    piece->empty = false;
    for (size_t i = 0; i < piece->size / 8; i++) {
        uint64_t descriptor = little_endian_word(piece->memory + 8 * i);

        empty = empty && (descriptor & 1) == 0;
        if (level < 3 && (descriptor & 3) == 3) {
            uint64_t physical = descriptor & 0x0000fffffffff000ull;
            struct observed_piece *below = observed_at(p, physical);

            if (below == NULL || below->physical != physical) {
                fail_msg("link to 0x%llx, which is no table", (unsigned long long)physical);
            }
            observe_links(p, below, level + 1,
                          input + ((uint64_t)i << walker_level_shift(&p->regime, level)));
        }
    }
    if (level > p->regime.start_level) {
        p->linked_count++;
        p->empty_count += empty ? 1u : 0u;
        piece->empty = empty;
    }
}

static inline void observe_tree(struct pgt *p)
{
    p->linked_count = 0;
    p->empty_count = 0;
    for (struct observed_piece *piece = p->pieces; piece != NULL; piece = piece->next) {
        piece->linked = false;
    }
    observe_links(p, observed_at(p, p->regime.root), p->regime.start_level, 0);
}

/*
 * What hardware takes notice of. In a link bits 58:51 and 11:2 are software's, but for bit 10,
 * which FEAT_HAFT uses.
 */
static inline uint64_t hardware_bits(const struct observed_piece *piece, uint64_t descriptor)
{
    bool is_link = piece->level < 3 && (descriptor & 3) == 3;

    return is_link ? descriptor & ~((0xffull << 51) | 0xbfcull) : descriptor;
}

static inline void observe_piece(struct observed_piece *piece)
{
    for (size_t i = 0; i < piece->size / 8; i++) {
        uint64_t before = little_endian_word(piece->before + 8 * i);
        uint64_t now = little_endian_word(piece->memory + 8 * i);
        bool changed = hardware_bits(piece, before) != hardware_bits(piece, now);

        if (piece->linked && !piece->was_linked && (before & 1) != 0 && changed) {
            fail_msg("table 0x%llx was linked before its content was visible",
                     (unsigned long long)piece->physical);
        }
        if (piece->linked && piece->was_linked && (before & 1) != 0 && (now & 1) != 0 && changed) {
            fail_msg("a valid descriptor was changed to another: 0x%llx to 0x%llx",
                     (unsigned long long)before, (unsigned long long)now);
        }
        if (!piece->linked && piece->once_linked && (now & 1) != 0) {
            fail_msg("table 0x%llx was taken out and has a valid descriptor",
                     (unsigned long long)piece->physical);
        }
    }
}

static inline bool fixture_is_table(void *ctx, uint64_t physical, uint64_t size)
{
    struct pgt *p = ctx;
    const struct observed_piece *piece = observed_at(p, physical);

    return piece != NULL && piece->physical == physical && piece->size >= size &&
           fake_os_is_dma_memory(p->os, physical, size);
}

static inline void fixture_report(void *ctx, const struct walker_problem *problem)
{
    (void)ctx;
    fprintf(stderr, "%s at level %d, input 0x%llx: descriptor 0x%llx\n",
            walker_problem_name(problem->kind), problem->level, (unsigned long long)problem->input,
            (unsigned long long)problem->descriptor);
}

/* What the walker sees is well-formed. */
static inline void check_walker_view(struct pgt *p)
{
    assert_int_equal(walker_check(&p->regime, &p->memory, fixture_is_table, fixture_report, p), 0);
}

static inline void observe_barrier(struct pgt *p)
{
    if (p->ready) {
        observe_tree(p);
    }
    for (struct observed_piece *piece = p->pieces; piece != NULL; piece = piece->next) {
        if (p->ready) {
            observe_piece(piece);
        }
        piece->was_linked = piece->linked;
        memcpy(piece->before, piece->memory, piece->size);
    }
}

/* ---- The shim ---- */

static inline void *fixture_alloc(void *ctx, size_t size)
{
    struct pgt *p = ctx;

    return p->below.alloc(p->os, size);
}

static inline void fixture_free(void *ctx, void *memory, size_t size)
{
    struct pgt *p = ctx;

    p->below.free(p->os, memory, size);
}

static inline void *fixture_dma_alloc(void *ctx, const struct piommu_dma_request *request,
                                      uint64_t *physical)
{
    struct pgt *p = ctx;
    struct observed_piece *piece;
    void *memory;

    p->last_request = *request;
    p->requests++;
    memory = p->below.dma_alloc(p->os, request, physical);
    if (memory == NULL) {
        return NULL;
    }
    piece = calloc(1, sizeof(*piece));
    piece->physical = *physical;
    piece->size = request->size;
    piece->memory = memory;
    piece->before = malloc(request->size);
    memcpy(piece->before, memory, request->size);
    piece->next = p->pieces;
    p->pieces = piece;
    p->piece_at[(*physical - FAKE_OS_MEMORY_BASE) / FAKE_OS_PAGE_SIZE] = piece;
    p->piece_count++;
    return memory;
}

static inline void fixture_dma_free(void *ctx, void *memory, size_t size)
{
    struct pgt *p = ctx;
    struct observed_piece **link = &p->pieces;
    struct observed_piece *piece;

    while (*link != NULL && (*link)->memory != memory) {
        link = &(*link)->next;
    }
    piece = *link;
    if (piece != NULL) {
        *link = piece->next;
        p->piece_at[(piece->physical - FAKE_OS_MEMORY_BASE) / FAKE_OS_PAGE_SIZE] = NULL;
        p->piece_count--;
        free(piece->before);
        free(piece);
    }
    p->below.dma_free(p->os, memory, size);
}

static inline void *fixture_dma_virtual(void *ctx, uint64_t physical)
{
    struct pgt *p = ctx;

    return p->below.dma_virtual(p->os, physical);
}

static inline void fixture_cache_clean(void *ctx, const void *address, size_t size)
{
    struct pgt *p = ctx;

    p->below.cache_clean(p->os, address, size);
    if (p->is_watched && p->ready && p->piece_count <= WATCHED_PIECES) {
        check_walker_view(p);
    }
}

static inline void fixture_barrier(void *ctx, enum piommu_barrier kind)
{
    struct pgt *p = ctx;

    p->below.barrier(p->os, kind);
    if (kind == PIOMMU_BARRIER_READ) {
        return;
    }
    p->write_barriers++;
    if (p->is_watched) {
        observe_barrier(p);
        if (p->ready && !p->config.coherent_walk && p->piece_count <= WATCHED_PIECES) {
            check_walker_view(p);
        }
    }
}

/* The strict host calls this before it takes a table back. */
static inline void fixture_on_dma_free(void *ctx, uint64_t physical, uint64_t size)
{
    struct pgt *p = ctx;

    if (p->tlb != NULL && !p->is_torn_down && stale_tlb_table_reaches(p->tlb, physical, size)) {
        fail_msg("table 0x%llx was freed while a walk cache may lead to it",
                 (unsigned long long)physical);
    }
}

/* ---- Opening and closing ---- */

static inline struct piommu_pgtable_config stage1_config(unsigned int input_bits)
{
    return (struct piommu_pgtable_config){
        .format = PIOMMU_ARM_64_LPAE_S1,
        .granule = 4096,
        .input_bits = (uint8_t)input_bits,
        .output_bits = 48,
        .coherent_walk = true,
    };
}

static inline struct piommu_pgtable_config stage2_config(unsigned int input_bits,
                                                         unsigned int output_bits)
{
    struct piommu_pgtable_config config = stage1_config(input_bits);

    config.format = PIOMMU_ARM_64_LPAE_S2;
    config.output_bits = (uint8_t)output_bits;
    return config;
}

/* The regime that hardware takes the table for, from register values alone. */
static inline enum walker_setup decode_registers(const struct piommu_pgtable_info *info,
                                                 unsigned int physical_bits,
                                                 struct walker_regime *regime)
{
    struct walker_hardware hardware = {
        .physical_bits = physical_bits,
        .has_execute_never_by_privilege = true,
    };
    enum walker_setup setup;

    if (info->format == PIOMMU_ARM_64_LPAE_S1) {
        setup = walker_regime_from_tcr(&hardware, piommu_pgtable_tcr_el1(info, NULL),
                                       info->registers.stage1.ttbr, info->registers.stage1.mair,
                                       false, regime);
        regime->mair_slots_in_use = 7;
    } else {
        setup = walker_regime_from_vtcr(&hardware, piommu_pgtable_vtcr_el2(info),
                                        info->registers.stage2.vttbr, regime);
    }
    return setup;
}

/* Prepares the host; the test may change p->shim before create_table(). */
static inline void prepare_host(struct pgt *p, struct fake_os *os,
                                const struct piommu_pgtable_config *config)
{
    memset(p, 0, sizeof(*p));
    p->os = os;
    p->config = *config;
    p->below = *fake_os_host(os).os;
    p->shim = (struct piommu_os){
        .size = sizeof(struct piommu_os),
        .alloc = fixture_alloc,
        .free = fixture_free,
        .dma_alloc = fixture_dma_alloc,
        .dma_free = fixture_dma_free,
        .dma_virtual = p->below.dma_virtual != NULL ? fixture_dma_virtual : NULL,
        /* Not needed for a walker that snoops, so it must not be asked for. */
        .cache_clean = config->coherent_walk ? NULL : fixture_cache_clean,
        .barrier = fixture_barrier,
    };
    p->host = (struct piommu_host){.os = &p->shim, .ctx = p};
    p->memory = (struct walker_memory){.read64 = fake_os_device_read64, .ctx = os};
    p->is_watched = true;
}

static inline void create_table(struct pgt *p)
{
    assert_int_equal(piommu_pgtable_create(p->host, &p->config, &p->table), 0);
    piommu_pgtable_get_info(p->table, &p->info);
    assert_int_equal(decode_registers(&p->info, p->config.output_bits, &p->regime),
                     WALKER_SETUP_OK);
    p->tlb = stale_tlb_create();
    fake_os_on_dma_free(p->os, fixture_on_dma_free, p);
    p->ready = true;
    observe_barrier(p);
}

static inline struct pgt *open_table_on(struct fake_os *os,
                                        const struct piommu_pgtable_config *config)
{
    struct pgt *p = malloc(sizeof(*p));

    prepare_host(p, os, config);
    create_table(p);
    return p;
}

static inline struct pgt *open_table_with(const struct piommu_pgtable_config *config,
                                          const struct fake_os_options *options)
{
    struct pgt *p = open_table_on(fake_os_create(options), config);

    p->owns_os = true;
    return p;
}

static inline struct pgt *open_table(const struct piommu_pgtable_config *config)
{
    struct fake_os_options options = {.non_coherent = !config->coherent_walk, .seed = 7};

    return open_table_with(config, &options);
}

static inline void close_table(struct pgt *p)
{
    p->is_torn_down = true;
    p->ready = false;
    piommu_pgtable_destroy(p->table);
    fake_os_on_dma_free(p->os, NULL, NULL);
    assert_int_equal(fake_os_bytes_outstanding(p->os), 0);
    assert_int_equal(p->piece_count, 0);
    stale_tlb_destroy(p->tlb);
    if (p->owns_os) {
        fake_os_destroy(p->os);
    }
    free(p);
}

/* ---- Checks ---- */

/* Do the rights and the memory type that hardware sees mean exactly what was asked for? */
static inline bool attributes_mean(const struct pgt *p, const struct walker_attributes *attributes,
                                   piommu_prot prot)
{
    bool read = (prot & PIOMMU_PROT_READ) != 0;
    bool write = (prot & PIOMMU_PROT_WRITE) != 0;
    bool execute = (prot & PIOMMU_PROT_EXECUTE) != 0;
    bool execute_privileged = (prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0;
    bool privileged = (prot & PIOMMU_PROT_PRIVILEGED) != 0;
    uint8_t type = 0xff;
    const struct walker_rights *high = &attributes->privileged;
    const struct walker_rights *low = &attributes->unprivileged;

    if ((prot & PIOMMU_PROT_DEVICE) != 0) {
        type = 0x04;
    } else if ((prot & PIOMMU_PROT_NONCACHEABLE) != 0) {
        type = 0x44;
    }
    if (attributes->memory_type_is_reserved || attributes->memory_type_is_inherited ||
        attributes->memory_type != type || !attributes->access_flag || attributes->contiguous ||
        attributes->dirty_bit_modifier) {
        return false;
    }
    if (type == 0xff ? attributes->shareability != 3 : attributes->shareability < 2) {
        return false;
    }
    if (p->info.format == PIOMMU_ARM_64_LPAE_S2) {
        return high->read == read && high->write == write && high->execute == execute_privileged &&
               low->read == read && low->write == write && low->execute == execute;
    }
    return attributes->not_global && high->read == read && high->write == write &&
           high->execute == execute_privileged && low->read == (read && !privileged) &&
           low->write == (write && !privileged) && low->execute == execute;
}

/* Caches all leaves, and all links: those to tables without a leaf as well. */
static inline void fill_tlb(struct pgt *p)
{
    static const struct walker_access nothing = {.privileged = true};
    struct walker_result ignored;

    stale_tlb_fill(p->tlb, &p->regime, &p->memory);
    observe_tree(p);
    for (struct observed_piece *piece = p->pieces; piece != NULL; piece = piece->next) {
        if (piece->linked && piece->empty) {
            stale_tlb_translate(p->tlb, &p->regime, &p->memory, piece->input, &nothing, &ignored);
        }
    }
}

struct sweep {
    struct pgt *p;
    uint64_t cursor;
    size_t count;
};

static inline bool sweep_leaf(void *ctx, const struct walker_leaf *leaf)
{
    struct sweep *sweep = ctx;
    struct pgt *p = sweep->p;
    uint64_t size = 1ull << leaf->shift;
    uint64_t found = 1;
    struct piommu_translation translation;

    assert_int_equal(
        piommu_pgtable_next_leaf(p->table, sweep->cursor, UINT64_MAX, &found, &translation), 0);
    assert_int_equal(found, leaf->input);
    assert_int_equal(translation.physical, leaf->output);
    assert_int_equal(translation.leaf_size, size);
    assert_true(attributes_mean(p, &leaf->attributes, translation.prot));
    for (unsigned int i = 0; i < 3; i++) {
        uint64_t offset = i == 0 ? 0 : i == 1 ? size / 2 + 5 : size - 1;
        struct piommu_translation looked_up;

        assert_int_equal(piommu_pgtable_lookup(p->table, leaf->input + offset, &looked_up), 0);
        assert_int_equal(looked_up.physical, leaf->output + offset);
        assert_int_equal(looked_up.leaf_size, size);
        assert_int_equal(looked_up.prot, translation.prot);
    }
    sweep->cursor = leaf->input + size;
    sweep->count++;
    return true;
}

/* Everything that must hold whenever no call is in progress. */
static inline void verify(struct pgt *p)
{
    struct sweep sweep = {.p = p};
    struct piommu_pgtable_statistics statistics;
    struct piommu_translation translation;
    uint64_t found;

    check_walker_view(p);
    observe_barrier(p);
    assert_true(walker_for_each_leaf(&p->regime, &p->memory, sweep_leaf, &sweep));
    assert_int_equal(
        piommu_pgtable_next_leaf(p->table, sweep.cursor, UINT64_MAX, &found, &translation),
        -PIOMMU_ENOENT);

    piommu_pgtable_get_statistics(p->table, &statistics);
    assert_int_equal(statistics.tables_allocated - statistics.tables_freed, p->piece_count - 1);
    assert_int_equal(statistics.tables_empty, p->empty_count);

    /*
     * The TLB caches all there is; with nothing to forget it must hold just that. A link above a
     * leaf that is cached may be missing.
     */
    fill_tlb(p);
    if (!p->unsynced) {
        assert_int_equal(stale_tlb_leaf_count(p->tlb), sweep.count);
        assert_true(stale_tlb_table_count(p->tlb) <= p->linked_count);
    }
    assert_int_equal(stale_tlb_conflicts(p->tlb), 0);
}

struct expected_leaf {
    uint64_t input;
    uint64_t output;
    uint64_t size;
};

struct expectation {
    const struct expected_leaf *leaves;
    size_t count;
    size_t seen;
};

static inline bool compare_leaf(void *ctx, const struct walker_leaf *leaf)
{
    struct expectation *expectation = ctx;
    const struct expected_leaf *expected = &expectation->leaves[expectation->seen];

    assert_true(expectation->seen < expectation->count);
    assert_int_equal(leaf->input, expected->input);
    assert_int_equal(leaf->output, expected->output);
    assert_int_equal(1ull << leaf->shift, expected->size);
    expectation->seen++;
    return true;
}

/* The leaves, all of them, in ascending order. */
static inline void expect_leaves(struct pgt *p, const struct expected_leaf *leaves, size_t count)
{
    struct expectation expectation = {.leaves = leaves, .count = count};

    verify(p);
    assert_true(walker_for_each_leaf(&p->regime, &p->memory, compare_leaf, &expectation));
    assert_int_equal(expectation.seen, count);
}

static inline void expect_empty(struct pgt *p)
{
    struct expected_leaf none = {0};

    expect_leaves(p, &none, 0);
}

#define EXPECT_LEAVES(p, ...)                                           \
    expect_leaves((p), (const struct expected_leaf[]){__VA_ARGS__},     \
                  sizeof((const struct expected_leaf[]){__VA_ARGS__}) / \
                      sizeof(struct expected_leaf))

struct leaf_counts {
    size_t pages;
    size_t middle; /* 2 MiB */
    size_t large;  /* 1 GiB */
};

static inline bool count_leaf(void *ctx, const struct walker_leaf *leaf)
{
    struct leaf_counts *counts = ctx;

    counts->pages += leaf->shift == 12;
    counts->middle += leaf->shift == 21;
    counts->large += leaf->shift == 30;
    return true;
}

static inline void expect_counts(struct pgt *p, size_t pages, size_t middle, size_t large)
{
    struct leaf_counts counts = {0};

    verify(p);
    assert_true(walker_for_each_leaf(&p->regime, &p->memory, count_leaf, &counts));
    assert_int_equal(counts.pages, pages);
    assert_int_equal(counts.middle, middle);
    assert_int_equal(counts.large, large);
}

/* ---- Calls ---- */

static inline int call_map(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size,
                           piommu_prot prot, uint64_t *mapped)
{
    int result;

    *mapped = 0x5a5a5a5a5a5a5a5aull;
    fake_os_forbid(p->os, FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_map(p->table, iova, physical, size, prot, mapped);
    fake_os_forbid(p->os, 0);
    return result;
}

static inline void map(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size,
                       piommu_prot prot)
{
    uint64_t mapped;

    assert_int_equal(call_map(p, iova, physical, size, prot, &mapped), 0);
    assert_int_equal(mapped, size);
    verify(p);
}

/*
 * An unmap need not wait until the walker sees it: detach_empty does. Here the time passes in which
 * what was cleaned arrives.
 */
static inline void let_lines_arrive(struct pgt *p)
{
    p->below.barrier(p->os, PIOMMU_BARRIER_WRITE);
}

/* A map that fails with anything but a conflict changes nothing at all. */
static inline void map_fails(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size,
                             piommu_prot prot, int error)
{
    uint64_t mapped;
    uint64_t bytes = fake_os_bytes_outstanding(p->os);

    assert_int_equal(call_map(p, iova, physical, size, prot, &mapped), error);
    assert_int_equal(mapped, 0);
    assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
    verify(p);
}

static inline int call_unmap(struct pgt *p, uint64_t iova, uint64_t size,
                             struct piommu_gather *gather, uint64_t *unmapped)
{
    int result;

    *unmapped = 0x5a5a5a5a5a5a5a5aull;
    fill_tlb(p);
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_unmap(p->table, iova, size, gather, unmapped);
    fake_os_forbid(p->os, 0);
    if (result == 0) {
        p->unsynced = true;
    }
    return result;
}

static inline void unmap(struct pgt *p, uint64_t iova, uint64_t size, struct piommu_gather *gather,
                         uint64_t expected)
{
    uint64_t unmapped;

    assert_int_equal(call_unmap(p, iova, size, gather, &unmapped), 0);
    assert_int_equal(unmapped, expected);
    assert_true(gather->pending);
    let_lines_arrive(p);
    verify(p);
}

static inline void unmap_fails(struct pgt *p, uint64_t iova, uint64_t size, int error)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    assert_int_equal(call_unmap(p, iova, size, &gather, &unmapped), error);
    assert_int_equal(unmapped, 0);
    assert_false(gather.pending);
    verify(p);
}

static inline void detach_empty_quietly(struct pgt *p, struct piommu_gather *gather)
{
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    piommu_pgtable_detach_empty(p->table, gather);
    fake_os_forbid(p->os, 0);
}

static inline void detach_empty(struct pgt *p, struct piommu_gather *gather)
{
    detach_empty_quietly(p, gather);
    /* The TLB may still be in the middle of a walk through what was detached. */
    verify(p);
}

static inline void invalidate(struct pgt *p, const struct piommu_gather *gather)
{
    if (gather->pending) {
        stale_tlb_invalidate(p->tlb, gather->range.first, gather->range.last, false);
    }
    fill_tlb(p);
}

static inline void release(struct pgt *p, struct piommu_gather *gather)
{
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
    piommu_pgtable_release(p->table, gather);
    fake_os_forbid(p->os, 0);
    assert_false(gather->pending);
}

/* The documented sequence, with everything cached that may be cached at each step. */
static inline void sync_gather(struct pgt *p, struct piommu_gather *gather)
{
    detach_empty(p, gather);
    invalidate(p, gather);
    release(p, gather);
    p->unsynced = false;
    verify(p);
}

/* Unmaps what is there and forgets it. */
static inline void unmap_and_sync(struct pgt *p, uint64_t iova, uint64_t size, uint64_t expected)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    unmap(p, iova, size, &gather, expected);
    sync_gather(p, &gather);
}

#endif
