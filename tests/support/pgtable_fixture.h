/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PGTABLE_FIXTURE_H
#define PGTABLE_FIXTURE_H

/*
 * A page table under observation, for the tests of io-pgtable.h and its companions.
 *
 * Between the library and the strict host stands an observer that knows every table. It asks at
 * each barrier what a walker may have seen since the one before, whatever the order in which the
 * stores of that time arrived:
 *  - a table that was linked had nothing but its final content, or invalid descriptors, before;
 *  - no valid descriptor became another valid descriptor, but for what the test has allowed;
 *  - a table that is taken out of the tree holds no valid descriptor then.
 * On a host whose walker does not snoop, the walker's own view is checked at each clean, too.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <piommu/error.h>
#include <piommu/io-pgtable-dirty.h>
#include <piommu/io-pgtable-inspect.h>
#include <piommu/io-pgtable.h>
#include <piommu/models/lpae-walker.h>

#include "fake_os.h"
#include "little_endian.h"
#include "stale_tlb.h"

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)
#define TIB (1024ull * GIB)

#define READ       PIOMMU_PROT_READ
#define WRITE      PIOMMU_PROT_WRITE
#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* With more tables than this the walker's view is not checked in the middle of a call. */
#define WATCHED_PIECES 20u

#define OBSERVED_PAGES (FAKE_OS_MEMORY_SIZE / FAKE_OS_PAGE_SIZE)

/* A table, or the tables of a root. */
struct observed_piece {
    uint64_t physical;
    size_t size;
    uint8_t *memory;
    uint8_t *before; /* the content at the last barrier */
    int level;
    uint64_t input;  /* the first address that it translates */
    bool linked;     /* the root reaches it */
    bool was_linked; /* it did at the last barrier */
    bool empty;
    struct observed_piece *next;
};

struct pgt {
    struct fake_os *os;
    bool owns_os;
    struct piommu_os shim;
    struct piommu_os below; /* the strict host */
    struct piommu_host host;
    /* Added to all physical addresses of tables, so that they reach into the high bits. */
    uint64_t elevation;
    struct piommu_pgtable_config config;
    struct piommu_pgtable *table;
    struct piommu_pgtable_info info;
    struct piommu_walker_regime regime;
    struct piommu_walker_memory memory;
    struct stale_tlb *tlb;

    struct observed_piece *pieces;
    struct observed_piece *piece_at[OBSERVED_PAGES]; /* by first page */
    size_t piece_count;
    bool ready;             /* the regime is known */
    bool is_torn_down;      /* hardware no longer uses the table */
    bool is_watched;        /* observe at each barrier and clean */
    bool has_tlb;           /* let a TLB cache all there is; slow with many leaves */
    bool may_change_access; /* rights of a live leaf may change without a break */
    bool may_resize;        /* a live leaf may be replaced by a table (BBM level 2) */
    bool may_track;         /* leaves may have the dirty-bit modifier */
    bool is_verifying;
    /* The host may be asked for addresses of any memory; it says NULL where there is none. */
    bool has_hostile_links;
    bool is_amid; /* a call is in progress */
    size_t walker_problems;
    size_t linked_count; /* without the root */
    size_t empty_count;  /* of these */
    bool unsynced;       /* something was unmapped and not invalidated */

    struct piommu_dma_request last_request;
    uint64_t requests;
    uint64_t write_barriers;

    /* Called at each write barrier and at each clean, if set. */
    void (*at_barrier)(struct pgt *p, void *ctx);
    void *at_barrier_ctx;
    uint64_t cleans;
    /* The clean with this number is lost: 0 stands for none. For tests of the fixture itself. */
    uint64_t lost_clean;
};

/*
 * Does the library store descriptors of 64 bits at once here? There is no dirty tracking without,
 * and what changes in place may be seen half changed.
 */
bool stores_at_once(void);

/*
 * Tells that a case of a large set is to be left out: most of them where all is slow, which is
 * where PIOMMU_RANDOM_STEPS asks for less than is usual. Which ones changes from call to call, but
 * not from run to run.
 */
bool is_left_out(void);

/* ---- Opening and closing ---- */

/* Short names, for lists of configurations. */
#define S1_64 PIOMMU_ARM_64_LPAE_S1
#define S2_64 PIOMMU_ARM_64_LPAE_S2
#define S1_32 PIOMMU_ARM_32_LPAE_S1
#define S2_32 PIOMMU_ARM_32_LPAE_S2

/* An element of such a list: what a configuration is told apart by. */
struct kind {
    enum piommu_pgtable_format format;
    uint32_t granule;
    uint8_t input;
    uint8_t output;
    uint32_t flags;
    uint64_t leaf_sizes; /* 0: all */
};

/* PIOMMU_PGTABLE_DISJOINT, or 0 on a host that has no disjoint tables. */
uint32_t disjoint_flag(void);
/* The flags without those that this host has not. */
uint32_t possible_flags(uint32_t flags);
/* The configuration of a kind; coherent. On a host without disjoint tables an exclusive one. */
struct piommu_pgtable_config config_of_kind(const struct kind *kind);
/* The largest configurations of a kind that the format has with these sizes; coherent. */
struct piommu_pgtable_config config_of(enum piommu_pgtable_format format, uint32_t granule,
                                       unsigned int input_bits, unsigned int output_bits);
/* 4 KiB. */
struct piommu_pgtable_config stage1_config(unsigned int input_bits);
struct piommu_pgtable_config stage2_config(unsigned int input_bits, unsigned int output_bits);

bool is_stage1(const struct piommu_pgtable_info *info);
bool is_disjoint(const struct piommu_pgtable_info *info);
bool is_32_bit(const struct piommu_pgtable_info *info);
/* The 64-bit formats with the descriptors of FEAT_LPA2. */
bool has_ds(const struct piommu_pgtable_info *info);
/* Whether a configuration has them, by the rules of the header. */
bool config_has_ds(const struct piommu_pgtable_config *config);

/* The regime that hardware takes the table for, from packed register values alone. */
enum piommu_walker_setup decode_registers(const struct piommu_pgtable_info *info,
                                          unsigned int physical_bits,
                                          struct piommu_walker_regime *regime);

/* Prepares the host; the test may change p->shim or p->elevation before create_table(). */
void prepare_host(struct pgt *p, struct fake_os *os, const struct piommu_pgtable_config *config);
void create_table(struct pgt *p);
struct pgt *open_table_on(struct fake_os *os, const struct piommu_pgtable_config *config);
struct pgt *open_table_with(const struct piommu_pgtable_config *config,
                            const struct fake_os_options *options);
struct pgt *open_table(const struct piommu_pgtable_config *config);
/* With tables at physical addresses of this and above. */
struct pgt *open_elevated_table(const struct piommu_pgtable_config *config, uint64_t elevation);
/* Destroys the table, and checks that all memory came back. */
void close_table(struct pgt *p);
/* The same, where the test has destroyed or lost p->table itself. */
void close_fixture(struct pgt *p);

/* ---- Memory ---- */

void store_little_endian_word(uint8_t *bytes, uint64_t value);
/* A descriptor in memory, as a number of the host. */
uint64_t peek(const struct pgt *p, uint64_t location);
void poke(struct pgt *p, uint64_t location, uint64_t descriptor);
/* Where the descriptor is that the walk to an address meets at a level; there must be one. */
uint64_t locate(struct pgt *p, uint64_t input, int level);
/* The first input address. */
uint64_t base_of(const struct pgt *p);

/* ---- Checks ---- */

/* Do the rights and the memory type that hardware sees mean exactly what was asked for? */
bool attributes_mean(const struct pgt *p, const struct piommu_walker_attributes *attributes,
                     piommu_prot prot);
/* Must a leaf of this prot be refused, by the header's rules? */
bool prot_is_expressible(const struct piommu_pgtable_info *info, piommu_prot prot);
/* The same prot without the flags that name a default: what lookup returns. */
piommu_prot prot_without_defaults(const struct piommu_pgtable_info *info, piommu_prot prot);

/* For piommu_walker_check(): is this a table; what is wrong, on stderr. ctx: a struct pgt. */
bool fixture_is_table(void *ctx, uint64_t physical, uint64_t size);
void fixture_report(void *ctx, const struct piommu_walker_problem *problem);
/* What the walker sees is well-formed. */
void check_walker_view(struct pgt *p);
/* How many descriptors the walker sees otherwise than the CPU has stored them. */
size_t stale_descriptors(struct pgt *p);
/* Everything that must hold whenever no call is in progress. */
void verify(struct pgt *p);
void observe_tree(struct pgt *p);
/* Compares with the last barrier, as a barrier does. */
void observe_barrier(struct pgt *p);
/* Caches all leaves, and all links: those to tables without a leaf as well. */
void fill_tlb(struct pgt *p);

struct expected_leaf {
    uint64_t input;
    uint64_t output;
    uint64_t size; /* of the whole group, if it is one */
};

/* The leaves, all of them, in ascending order; a contiguous group is one. */
void expect_leaves(struct pgt *p, const struct expected_leaf *leaves, size_t count);
void expect_empty(struct pgt *p);

#define EXPECT_LEAVES(p, ...)                                           \
    expect_leaves((p), (const struct expected_leaf[]){__VA_ARGS__},     \
                  sizeof((const struct expected_leaf[]){__VA_ARGS__}) / \
                      sizeof(struct expected_leaf))

/* Numbers of leaves with 4 KiB granule: 4 KiB, 2 MiB, 1 GiB. */
void expect_counts(struct pgt *p, size_t pages, size_t middle, size_t large);
/* How many leaves there are, a group counted as one. */
size_t count_leaves(struct pgt *p);

/*
 * A piece of the space that was mapped by one call. `expect_greedy` checks that the table has just
 * the largest leaves and groups that alignment and size allow, when nothing was in the way.
 */
struct greedy_piece {
    uint64_t iova;
    uint64_t physical;
    uint64_t size;
};

void expect_greedy(struct pgt *p, const struct greedy_piece *pieces, size_t count);

struct piommu_pgtable_statistics statistics_of(const struct pgt *p);

/* ---- Calls ---- */

int call_map(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size, piommu_prot prot,
             uint64_t *mapped);
/* Maps, checks everything. */
void map(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size, piommu_prot prot);
/* Maps without looking at the whole table. */
void map_quickly(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size, piommu_prot prot);
/* A map that fails with anything but a conflict changes nothing at all. */
void map_fails(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size, piommu_prot prot,
               int error);
/*
 * An unmap need not wait until the walker sees it: detach_empty does. Here the time passes in which
 * what was cleaned arrives.
 */
void let_lines_arrive(struct pgt *p);
int call_unmap(struct pgt *p, uint64_t iova, uint64_t size, struct piommu_gather *gather,
               uint64_t *unmapped);
void unmap(struct pgt *p, uint64_t iova, uint64_t size, struct piommu_gather *gather,
           uint64_t expected);
void unmap_fails(struct pgt *p, uint64_t iova, uint64_t size, int error);
void detach_empty(struct pgt *p, struct piommu_gather *gather);
/* Without looking at the whole table. */
void detach_empty_quietly(struct pgt *p, struct piommu_gather *gather);
void invalidate(struct pgt *p, const struct piommu_gather *gather);
void release(struct pgt *p, struct piommu_gather *gather);
/* The documented sequence, with everything cached that may be cached at each step. */
void sync_gather(struct pgt *p, struct piommu_gather *gather);
/* Unmaps what is there and forgets it. */
void unmap_and_sync(struct pgt *p, uint64_t iova, uint64_t size, uint64_t expected);
/* Empties the table. */
void unmap_all(struct pgt *p);
/* Translates as the hardware; false with a fault. */
bool hardware_translates(struct pgt *p, uint64_t input, struct piommu_walker_result *result);

#endif
