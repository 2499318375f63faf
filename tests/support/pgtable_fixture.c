/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Slow machines ---- */

bool is_left_out(void)
{
    static uint64_t calls;
    const char *text = getenv("PIOMMU_RANDOM_STEPS");
    uint64_t steps = text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : UINT64_MAX;
    unsigned int one_in = steps >= 60000 ? 1 : steps >= 20000 ? 3 : steps >= 10000 ? 7 : 23;

    return calls++ % one_in != 0;
}

/* ---- Memory ---- */

void store_little_endian_word(uint8_t *bytes, uint64_t value)
{
    for (unsigned int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint8_t *bytes_at(const struct pgt *p, uint64_t location)
{
    uint8_t *bytes = fake_os_pointer(p->os, location - p->elevation, 8);

    assert_non_null(bytes);
    return bytes;
}

uint64_t peek(const struct pgt *p, uint64_t location)
{
    return little_endian_word(bytes_at(p, location));
}

void poke(struct pgt *p, uint64_t location, uint64_t descriptor)
{
    store_little_endian_word(bytes_at(p, location), descriptor);
}

uint64_t base_of(const struct pgt *p)
{
    return p->info.aperture.first;
}

bool hardware_translates(struct pgt *p, uint64_t input, struct piommu_walker_result *result)
{
    static const struct piommu_walker_access nothing = {.privileged = true};

    piommu_walker_translate(&p->regime, &p->memory, input, &nothing, result);
    return result->fault == PIOMMU_WALKER_FAULT_NONE;
}

uint64_t locate(struct pgt *p, uint64_t input, int level)
{
    struct piommu_walker_result result;

    hardware_translates(p, input, &result);
    for (unsigned int i = 0; i < result.step_count; i++) {
        if (result.steps[i].level == level) {
            return result.steps[i].location;
        }
    }
    fail_msg("the walk to 0x%llx does not reach level %d", (unsigned long long)input, level);
    return 0;
}

/* ---- The observer ---- */

static struct observed_piece *observed_at(const struct pgt *p, uint64_t physical)
{
    uint64_t offset = physical - p->elevation - FAKE_OS_MEMORY_BASE;

    if (offset >= FAKE_OS_MEMORY_SIZE) {
        return NULL;
    }
    return p->piece_at[offset / FAKE_OS_PAGE_SIZE];
}

/* The address in a table descriptor. */
static uint64_t link_target(const struct pgt *p, uint64_t descriptor)
{
    uint64_t granule_mask = ~((uint64_t)p->info.granule - 1);

    if (is_32_bit(&p->info)) {
        return descriptor & 0x000000fffffff000ull;
    }
    if (has_ds(&p->info)) {
        return (descriptor & 0x0003ffffffffffffull & granule_mask) | (descriptor >> 8 & 3) << 50;
    }
    if (p->info.granule == 65536 && p->info.output_bits == 52) {
        return (descriptor & 0x0000ffffffffffffull & granule_mask) | (descriptor >> 12 & 0xf) << 48;
    }
    return descriptor & 0x0000ffffffffffffull & granule_mask;
}

/* Follows the links as the CPU has stored them. At most five levels deep. */
static void observe_links(struct pgt *p, struct observed_piece *piece, int level, uint64_t input)
{
    bool empty = true;

    if (piece->linked) {
        fail_msg("table 0x%llx is linked twice", (unsigned long long)piece->physical);
    }
    piece->linked = true;
    piece->level = level;
    piece->input = input;
    piece->empty = false;
    for (size_t i = 0; i < piece->size / 8; i++) {
        uint64_t descriptor;

        if ((piece->memory[8 * i] & 1) == 0) {
            continue;
        }
        descriptor = little_endian_word(piece->memory + 8 * i);
        empty = false;
        if (level < 3 && (descriptor & 3) == 3) {
            uint64_t physical = link_target(p, descriptor);
            struct observed_piece *below = observed_at(p, physical);

            if (below == NULL || below->physical != physical) {
                fail_msg("link to 0x%llx, which is no table", (unsigned long long)physical);
            }
            observe_links(p, below, level + 1,
                          input + ((uint64_t)i << piommu_walker_level_shift(&p->regime, level)));
        }
    }
    if (level > p->regime.start_level) {
        p->linked_count++;
        p->empty_count += empty ? 1u : 0u;
        piece->empty = empty;
    }
}

void observe_tree(struct pgt *p)
{
    p->linked_count = 0;
    p->empty_count = 0;
    for (struct observed_piece *piece = p->pieces; piece != NULL; piece = piece->next) {
        piece->linked = false;
    }
    observe_links(p, observed_at(p, p->regime.root), p->regime.start_level, base_of(p));
}

static bool is_link(const struct observed_piece *piece, uint64_t descriptor)
{
    return piece->level < 3 && (descriptor & 3) == 3;
}

/*
 * What hardware takes notice of: nothing in an invalid descriptor, and in a link not bits 58:51 and
 * 11:2, which are software's, but for bit 10, which FEAT_HAFT uses, and for 9:8, which FEAT_LPA2
 * does.
 */
static uint64_t hardware_bits(const struct observed_piece *piece, uint64_t descriptor)
{
    if ((descriptor & 1) == 0) {
        return 0;
    }
    return is_link(piece, descriptor) ? descriptor & ~((0xffull << 51) | 0x8fcull) : descriptor;
}

/*
 * May a live descriptor change like this? The rules of break-before-make: rights, access flag,
 * dirty state and software's bits change without a break, and nothing else does; with level 2 a
 * block may become a table, and a contiguous group may lose its mark.
 */
static bool is_live_change_allowed(const struct pgt *p, const struct observed_piece *piece,
                                   uint64_t before, uint64_t now)
{
    const uint64_t access = 3ull << 6 | 1ull << 10 | 1ull << 51 | 3ull << 53 | 0xfull << 55;
    const uint64_t contiguous = 1ull << 52;
    uint64_t difference = before ^ now;

    if (is_link(piece, before) || (is_link(piece, now) && !p->may_resize)) {
        return false;
    }
    if (is_link(piece, now)) {
        return true;
    }
    return (difference &
            ~((p->may_change_access ? access : 0) | (p->may_resize ? contiguous : 0))) == 0;
}

static void observe_piece(const struct pgt *p, struct observed_piece *piece)
{
    if (memcmp(piece->before, piece->memory, piece->size) == 0 && piece->linked &&
        piece->was_linked) {
        return;
    }
    for (size_t i = 0; i < piece->size / 8; i++) {
        uint64_t before = little_endian_word(piece->before + 8 * i);
        uint64_t now = little_endian_word(piece->memory + 8 * i);
        bool changed = hardware_bits(piece, before) != hardware_bits(piece, now);

        if (piece->linked && !piece->was_linked && (before & 1) != 0 && changed) {
            fail_msg("table 0x%llx was linked before its content was visible",
                     (unsigned long long)piece->physical);
        }
        if (piece->linked && piece->was_linked && (before & 1) != 0 && (now & 1) != 0 && changed &&
            !is_live_change_allowed(p, piece, before, now)) {
            fail_msg("a valid descriptor was changed to another: 0x%llx to 0x%llx",
                     (unsigned long long)before, (unsigned long long)now);
        }
        if (!piece->linked && piece->was_linked && (now & 1) != 0) {
            fail_msg("table 0x%llx was taken out and has a valid descriptor",
                     (unsigned long long)piece->physical);
        }
    }
}

void observe_barrier(struct pgt *p)
{
    if (p->ready) {
        observe_tree(p);
    }
    for (struct observed_piece *piece = p->pieces; piece != NULL; piece = piece->next) {
        if (p->ready && p->is_watched) {
            observe_piece(p, piece);
        }
        piece->was_linked = piece->linked;
        memcpy(piece->before, piece->memory, piece->size);
    }
}

bool fixture_is_table(void *ctx, uint64_t physical, uint64_t size)
{
    struct pgt *p = ctx;
    const struct observed_piece *piece = observed_at(p, physical);

    return piece != NULL && piece->physical == physical && piece->size >= size &&
           fake_os_is_dma_memory(p->os, physical - p->elevation, size);
}

/* What the walker takes for a problem, but the table was configured to be like. */
static bool is_wanted(const struct pgt *p, const struct piommu_walker_problem *problem)
{
    if (problem->kind == PIOMMU_WALKER_PROBLEM_EXECUTE_NEVER) {
        return (p->info.flags & PIOMMU_PGTABLE_XNX) != 0;
    }
    return problem->kind == PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES &&
           (p->info.flags & PIOMMU_PGTABLE_NON_SECURE) != 0 && problem->descriptor >> 59 == 0x10;
}

void fixture_report(void *ctx, const struct piommu_walker_problem *problem)
{
    struct pgt *p = ctx;

    if (is_wanted(p, problem) ||
        (p->is_amid && (problem->kind == PIOMMU_WALKER_PROBLEM_CONTIGUOUS_MIXED ||
                        problem->kind == PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ATTRIBUTES))) {
        return;
    }
    p->walker_problems++;
    fprintf(stderr, "%s at level %d, input 0x%llx: descriptor 0x%llx\n",
            piommu_walker_problem_name(problem->kind), problem->level,
            (unsigned long long)problem->input, (unsigned long long)problem->descriptor);
}

void check_walker_view(struct pgt *p)
{
    p->walker_problems = 0;
    piommu_walker_check(&p->regime, &p->memory, fixture_is_table, fixture_report, p);
    assert_int_equal(p->walker_problems, 0);
}

/* In the middle of a call a group may be half stored or half changed: there is no other way. */
static void check_view_amid(struct pgt *p)
{
    if (p->is_watched && p->ready && p->piece_count <= WATCHED_PIECES) {
        p->is_amid = true;
        check_walker_view(p);
        p->is_amid = false;
    }
}

size_t stale_descriptors(struct pgt *p)
{
    size_t count = 0;

    for (struct observed_piece *piece = p->pieces; piece != NULL; piece = piece->next) {
        for (size_t i = 0; i < piece->size / 8 && piece->linked; i++) {
            uint64_t seen = 0;

            assert_true(p->memory.read64(p, piece->physical + 8 * i, &seen));
            count += hardware_bits(piece, seen) !=
                             hardware_bits(piece, little_endian_word(piece->memory + 8 * i))
                         ? 1u
                         : 0u;
        }
    }
    return count;
}

/* ---- The shim ---- */

static void *fixture_alloc(void *ctx, size_t size)
{
    struct pgt *p = ctx;

    /* The checks of this file must not count, nor fail where the test wants others to. */
    return p->is_verifying ? malloc(size) : p->below.alloc(p->os, size);
}

static void fixture_free(void *ctx, void *memory, size_t size)
{
    struct pgt *p = ctx;

    if (p->is_verifying) {
        free(memory);
        return;
    }
    p->below.free(p->os, memory, size);
}

static void *fixture_dma_alloc(void *ctx, const struct piommu_dma_request *request,
                               uint64_t *physical)
{
    struct pgt *p = ctx;
    struct piommu_dma_request lower = *request;
    struct observed_piece *piece;
    void *memory;

    p->last_request = *request;
    p->requests++;
    if (p->elevation + FAKE_OS_MEMORY_BASE + FAKE_OS_MEMORY_SIZE - 1 > request->max_physical) {
        fail_msg("memory was asked for below 0x%llx", (unsigned long long)request->max_physical);
    }
    lower.max_physical -= p->elevation;
    memory = p->below.dma_alloc(p->os, &lower, physical);
    if (memory == NULL) {
        return NULL;
    }
    piece = calloc(1, sizeof(*piece));
    piece->size = request->size;
    piece->memory = memory;
    piece->before = malloc(request->size);
    memcpy(piece->before, memory, request->size);
    piece->next = p->pieces;
    p->pieces = piece;
    p->piece_at[(*physical - FAKE_OS_MEMORY_BASE) / FAKE_OS_PAGE_SIZE] = piece;
    p->piece_count++;
    *physical += p->elevation;
    piece->physical = *physical;
    return memory;
}

static void fixture_dma_free(void *ctx, void *memory, size_t size)
{
    struct pgt *p = ctx;
    struct observed_piece **link = &p->pieces;
    struct observed_piece *piece;

    while (*link != NULL && (*link)->memory != memory) {
        link = &(*link)->next;
    }
    piece = *link;
    if (piece != NULL) {
        uint64_t offset = piece->physical - p->elevation - FAKE_OS_MEMORY_BASE;

        *link = piece->next;
        p->piece_at[offset / FAKE_OS_PAGE_SIZE] = NULL;
        p->piece_count--;
        free(piece->before);
        free(piece);
    }
    p->below.dma_free(p->os, memory, size);
}

static void *fixture_dma_virtual(void *ctx, uint64_t physical)
{
    struct pgt *p = ctx;

    if (p->has_hostile_links) {
        return fake_os_pointer(p->os, physical - p->elevation, 1);
    }
    return p->below.dma_virtual(p->os, physical - p->elevation);
}

static void fixture_cache_clean(void *ctx, const void *address, size_t size)
{
    struct pgt *p = ctx;

    p->cleans++;
    if (p->cleans != p->lost_clean) {
        p->below.cache_clean(p->os, address, size);
    }
    check_view_amid(p);
    if (p->at_barrier != NULL && p->ready) {
        p->at_barrier(p, p->at_barrier_ctx);
    }
}

static void fixture_barrier(void *ctx, enum piommu_barrier kind)
{
    struct pgt *p = ctx;

    p->below.barrier(p->os, kind);
    if (kind == PIOMMU_BARRIER_READ) {
        return;
    }
    p->write_barriers++;
    if (p->is_watched) {
        observe_barrier(p);
    }
    if (!p->config.coherent_walk) {
        check_view_amid(p);
    }
    if (p->at_barrier != NULL && p->ready) {
        p->at_barrier(p, p->at_barrier_ctx);
    }
}

/* The strict host calls this before it takes a table back. */
static void fixture_on_dma_free(void *ctx, uint64_t physical, uint64_t size)
{
    struct pgt *p = ctx;

    if (p->tlb != NULL && !p->is_torn_down &&
        stale_tlb_table_reaches(p->tlb, physical + p->elevation, size)) {
        fail_msg("table 0x%llx was freed while a walk cache may lead to it",
                 (unsigned long long)physical);
    }
}

static bool fixture_read64(void *ctx, uint64_t physical, uint64_t *value)
{
    struct pgt *p = ctx;

    return physical >= p->elevation && fake_os_device_read64(p->os, physical - p->elevation, value);
}

/* Hardware's own updates of a descriptor. Those go to memory that is coherent. */
static bool fixture_compare_exchange64(void *ctx, uint64_t physical, uint64_t expected,
                                       uint64_t desired)
{
    struct pgt *p = ctx;

    if (peek(p, physical) != expected) {
        return false;
    }
    poke(p, physical, desired);
    return true;
}

/* ---- Opening and closing ---- */

bool stores_at_once(void)
{
#ifdef PIOMMU_DESCRIPTOR_HALVES
    return false;
#else
    return ATOMIC_LLONG_LOCK_FREE == 2;
#endif
}

struct piommu_pgtable_config config_of(enum piommu_pgtable_format format, uint32_t granule,
                                       unsigned int input_bits, unsigned int output_bits)
{
    return (struct piommu_pgtable_config){
        .format = format,
        .granule = granule,
        .input_bits = (uint8_t)input_bits,
        .output_bits = (uint8_t)output_bits,
        .coherent_walk = true,
    };
}

uint32_t disjoint_flag(void)
{
    return stores_at_once() ? PIOMMU_PGTABLE_DISJOINT : (uint32_t)0;
}

uint32_t possible_flags(uint32_t flags)
{
    return (flags & ~PIOMMU_PGTABLE_DISJOINT) | (flags & disjoint_flag());
}

struct piommu_pgtable_config config_of_kind(const struct kind *kind)
{
    struct piommu_pgtable_config config =
        config_of(kind->format, kind->granule, kind->input, kind->output);

    config.flags = possible_flags(kind->flags);
    config.leaf_sizes = kind->leaf_sizes;
    return config;
}

struct piommu_pgtable_config stage1_config(unsigned int input_bits)
{
    return config_of(PIOMMU_ARM_64_LPAE_S1, 4096, input_bits, 48);
}

struct piommu_pgtable_config stage2_config(unsigned int input_bits, unsigned int output_bits)
{
    return config_of(PIOMMU_ARM_64_LPAE_S2, 4096, input_bits, output_bits);
}

bool is_stage1(const struct piommu_pgtable_info *info)
{
    return info->format == PIOMMU_ARM_64_LPAE_S1 || info->format == PIOMMU_ARM_32_LPAE_S1;
}

bool is_disjoint(const struct piommu_pgtable_info *info)
{
    return (info->flags & PIOMMU_PGTABLE_DISJOINT) != 0;
}

bool is_32_bit(const struct piommu_pgtable_info *info)
{
    return info->format == PIOMMU_ARM_32_LPAE_S1 || info->format == PIOMMU_ARM_32_LPAE_S2;
}

bool config_has_ds(const struct piommu_pgtable_config *config)
{
    return (config->format == PIOMMU_ARM_64_LPAE_S1 || config->format == PIOMMU_ARM_64_LPAE_S2) &&
           config->granule != 65536 && (config->input_bits > 48 || config->output_bits == 52);
}

bool has_ds(const struct piommu_pgtable_info *info)
{
    return !is_32_bit(info) &&
           (is_stage1(info) ? info->registers.stage1.ds : info->registers.stage2.ds);
}

enum piommu_walker_setup decode_registers(const struct piommu_pgtable_info *info,
                                          unsigned int physical_bits,
                                          struct piommu_walker_regime *regime)
{
    const struct piommu_pgtable_stage1_registers *stage1 = &info->registers.stage1;
    const struct piommu_pgtable_stage2_registers *stage2 = &info->registers.stage2;
    bool is_upper = (info->flags & PIOMMU_PGTABLE_TTBR1) != 0;
    const struct piommu_pgtable_info *lower = is_upper ? NULL : info;
    const struct piommu_pgtable_info *upper = is_upper ? info : NULL;
    struct piommu_walker_hardware hardware = {
        .physical_bits = physical_bits,
        .has_small_tables = (info->flags & PIOMMU_PGTABLE_SMALL_INPUT) != 0,
        .has_large_virtual_addresses = info->input_bits > 48,
        .has_execute_never_by_privilege = true,
        .has_access_flag_updates = (info->flags & PIOMMU_PGTABLE_DIRTY) != 0,
        .has_dirty_updates = (info->flags & PIOMMU_PGTABLE_DIRTY) != 0,
        .break_before_make_level = (info->flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0 ? 2 : 0,
        .has_lpa2 = has_ds(info),
    };
    enum piommu_walker_setup setup = PIOMMU_WALKER_SETUP_UNSUPPORTED;

    switch (info->format) {
    case PIOMMU_ARM_64_LPAE_S1:
        setup = piommu_walker_regime_from_tcr(&hardware, piommu_pgtable_tcr_el1(lower, upper),
                                              stage1->ttbr, stage1->mair, is_upper, regime);
        break;
    case PIOMMU_ARM_64_LPAE_S2:
        setup = piommu_walker_regime_from_vtcr(&hardware, piommu_pgtable_vtcr_el2(info),
                                               stage2->vttbr, regime);
        break;
    case PIOMMU_ARM_32_LPAE_S1:
        setup = piommu_walker_regime_from_ttbcr(&hardware, piommu_pgtable_ttbcr(lower, upper),
                                                stage1->ttbr, (uint32_t)stage1->mair,
                                                (uint32_t)(stage1->mair >> 32), is_upper, regime);
        break;
    case PIOMMU_ARM_32_LPAE_S2:
        setup = piommu_walker_regime_from_aarch32_vtcr(&hardware, piommu_pgtable_vtcr(info),
                                                       stage2->vttbr, regime);
        break;
    }
    regime->mair_slots_in_use = is_stage1(info) ? 7 : 0;
    regime->forced_write_back = (info->flags & PIOMMU_PGTABLE_FORCE_WRITE_BACK) != 0;
    return setup;
}

void prepare_host(struct pgt *p, struct fake_os *os, const struct piommu_pgtable_config *config)
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
    p->memory = (struct piommu_walker_memory){
        .read64 = fixture_read64,
        .compare_exchange64 = fixture_compare_exchange64,
        .ctx = p,
    };
    p->is_watched = true;
    p->has_tlb = true;
}

void create_table(struct pgt *p)
{
    assert_int_equal(piommu_pgtable_create(p->host, &p->config, &p->table), 0);
    piommu_pgtable_get_info(p->table, &p->info);
    assert_string_equal(
        piommu_walker_setup_name(decode_registers(&p->info, p->config.output_bits, &p->regime)),
        piommu_walker_setup_name(PIOMMU_WALKER_SETUP_OK));
    p->tlb = stale_tlb_create();
    fake_os_on_dma_free(p->os, fixture_on_dma_free, p);
    p->ready = true;
    observe_barrier(p);
}

struct pgt *open_table_on(struct fake_os *os, const struct piommu_pgtable_config *config)
{
    struct pgt *p = malloc(sizeof(*p));

    prepare_host(p, os, config);
    create_table(p);
    return p;
}

struct pgt *open_table_with(const struct piommu_pgtable_config *config,
                            const struct fake_os_options *options)
{
    struct pgt *p = open_table_on(fake_os_create(options), config);

    p->owns_os = true;
    return p;
}

struct pgt *open_table(const struct piommu_pgtable_config *config)
{
    struct fake_os_options options = {.non_coherent = !config->coherent_walk, .seed = 7};

    return open_table_with(config, &options);
}

struct pgt *open_elevated_table(const struct piommu_pgtable_config *config, uint64_t elevation)
{
    struct fake_os_options options = {
        .non_coherent = !config->coherent_walk, .scattered = true, .seed = 7};
    struct pgt *p = malloc(sizeof(*p));

    prepare_host(p, fake_os_create(&options), config);
    p->elevation = elevation;
    p->owns_os = true;
    create_table(p);
    return p;
}

void close_fixture(struct pgt *p)
{
    fake_os_on_dma_free(p->os, NULL, NULL);
    assert_int_equal(fake_os_bytes_outstanding(p->os), 0);
    assert_int_equal(p->piece_count, 0);
    stale_tlb_destroy(p->tlb);
    if (p->owns_os) {
        fake_os_destroy(p->os);
    }
    free(p);
}

void close_table(struct pgt *p)
{
    p->is_torn_down = true;
    p->ready = false;
    piommu_pgtable_destroy(p->table);
    close_fixture(p);
}
