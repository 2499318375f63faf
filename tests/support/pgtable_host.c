/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable_host.h"

#include "little_endian.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With more table memory than this, what the walker sees is not checked amid a call. */
#define WATCHED_BYTES (256u * 1024u)

static void (*describe_what)(const void *what);
static const void *described;

void pgtable_describe(void (*describe)(const void *what), const void *what)
{
    describe_what = describe;
    described = what;
}

void pgtable_check_failed(const char *file, int line, const char *text)
{
    if (describe_what != NULL) {
        describe_what(described);
    }
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, text);
    abort();
}

uint64_t pgtable_random(uint64_t *state)
{
    uint64_t value;

    *state += 0x9e3779b97f4a7c15ull;
    value = *state;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

/* ---- Memory as hardware and the CPU see it ---- */

static bool device_read64(void *ctx, uint64_t physical, uint64_t *value)
{
    struct pgtable_host *h = ctx;

    return fake_os_device_read64(h->os, physical - h->offset, value);
}

static bool cpu_read64(void *ctx, uint64_t physical, uint64_t *value)
{
    struct pgtable_host *h = ctx;
    const uint8_t *bytes = fake_os_pointer(h->os, physical - h->offset, 8);

    if (bytes == NULL) {
        return false;
    }
    *value = little_endian_word(bytes);
    return true;
}

/* Hardware notes an access or a write. */
static bool device_exchange64(void *ctx, uint64_t physical, uint64_t expected, uint64_t desired)
{
    struct pgtable_host *h = ctx;
    uint8_t *bytes = fake_os_pointer(h->os, physical - h->offset, 8);

    CHECK(bytes != NULL);
    if (little_endian_word(bytes) != expected) {
        return false;
    }
    for (unsigned int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(desired >> (8 * i));
    }
    return true;
}

static struct host_piece *piece_at(const struct pgtable_host *h, uint64_t physical)
{
    uint64_t distance = physical - h->offset - FAKE_OS_MEMORY_BASE;

    return distance < FAKE_OS_MEMORY_SIZE ? h->piece_at[distance / FAKE_OS_PAGE_SIZE] : NULL;
}

/* ---- Observing ---- */

static void note_table(struct pgtable_host *h, struct host_piece *piece, int level, uint64_t first)
{
    uint64_t size = 1ull << rules_level_shift(&h->rules, level - 1);

    piece->is_known = true;
    piece->level = level;
    piece->span.first = first & ~(size - 1);
    piece->span.last = first | (size - 1);
}

void host_note_path(struct pgtable_host *h, uint64_t iova,
                    const struct piommu_walker_result *result)
{
    for (unsigned int i = 0; i < result->step_count; i++) {
        if (result->steps[i].is_table) {
            struct host_piece *piece = piece_at(h, result->steps[i].next_table);

            CHECK(piece != NULL && piece->held_by == 0);
            note_table(h, piece, result->steps[i].level + 1, iova);
        }
    }
}

/* Does the walk to its range lead through this table? */
static bool is_on_the_way(struct pgtable_host *h, const struct host_piece *piece)
{
    struct piommu_walker_result result;

    host_walk_as_cpu(h, piece->span.first, &result);
    for (unsigned int i = 0; i < result.step_count; i++) {
        if (result.steps[i].is_table && result.steps[i].next_table == piece->physical) {
            return true;
        }
    }
    return false;
}

static void refuse(struct pgtable_host *h, const struct piommu_range *span)
{
    if (!h->is_refusing) {
        h->is_refusing = true;
        h->refused = *span;
    }
    h->refused.first = h->refused.first < span->first ? h->refused.first : span->first;
    h->refused.last = h->refused.last > span->last ? h->refused.last : span->last;
}

struct host_piece *host_note_detached(struct pgtable_host *h, const struct piommu_range *range,
                                      unsigned int gather, bool refuses)
{
    struct host_piece *first = NULL;

    for (size_t i = 0; i < h->piece_count; i++) {
        struct host_piece *piece = h->pieces[i];

        if (!piece->is_known || piece->span.first < range->first ||
            piece->span.last > range->last || is_on_the_way(h, piece)) {
            continue;
        }
        piece->is_known = false;
        piece->held_by = gather;
        piece->refuses = refuses;
        h->held_count++;
        if (refuses) {
            refuse(h, &piece->span);
        }
        first = first == NULL ? piece : first;
    }
    return first;
}

void host_hand_over(struct pgtable_host *h, unsigned int gather, unsigned int other)
{
    h->held_count = 0;
    h->is_refusing = false;
    for (size_t i = 0; i < h->piece_count; i++) {
        struct host_piece *piece = h->pieces[i];

        piece->held_by = piece->held_by == gather ? other : piece->held_by;
        h->held_count += piece->held_by != 0;
        h->is_refusing = h->is_refusing || (piece->held_by != 0 && piece->refuses);
    }
}

/* The place where a walk of the tree stands: the table on each level, and the slot in it. */
struct tour {
    struct host_piece *piece;
    size_t next;
    uint64_t first; /* input */
    bool empty;
};

static void enter_table(struct pgtable_host *h, struct tour *tour, struct host_piece *piece,
                        int level, uint64_t first)
{
    CHECK(!piece->linked);      /* a table has one place only */
    CHECK(piece->held_by == 0); /* what is detached comes back after the release only */
    piece->linked = true;
    piece->once_linked = true;
    piece->level = level;
    if (level != h->rules.start_level && !h->is_at_barrier) {
        note_table(h, piece, level, first);
    }
    tour->first = first;
    tour->piece = piece;
    tour->next = 0;
    tour->empty = true;
}

static uint64_t table_address(const struct pgtable_host *h, uint64_t descriptor)
{
    uint64_t granule = h->rules.config.granule;
    uint64_t address = descriptor & 0x0000ffffffffffffull & ~(granule - 1);

    if (h->rules.has_ds) {
        /* Bits 49:48 stay where they are, bits 51:50 are in 9:8. */
        address = descriptor & 0x0003ffffffffffffull & ~(granule - 1);
        address |= (descriptor >> 8 & 3) << 50;
    } else if (granule == 65536 && h->rules.config.output_bits == 52) {
        address |= (descriptor >> 12 & 0xf) << 48;
    }
    return address;
}

void host_observe(struct pgtable_host *h)
{
    struct tour tours[6];
    int depth = 0;
    int level = h->rules.start_level;

    h->linked_count = 0;
    h->empty_count = 0;
    h->leaf_count = 0;
    for (size_t i = 0; i < h->piece_count; i++) {
        h->pieces[i]->linked = false;
        h->pieces[i]->empty = false;
    }
    enter_table(h, &tours[0], piece_at(h, h->regime.root), level, h->rules.aperture.first);
    while (depth >= 0) {
        struct tour *tour = &tours[depth];
        uint64_t descriptor;

        if (tour->next == (depth == 0 ? h->rules.root_size : tour->piece->size) / 8) {
            h->linked_count += depth != 0;
            h->empty_count += depth != 0 && tour->empty;
            tour->piece->empty = depth != 0 && tour->empty;
            depth--;
            continue;
        }
        descriptor = little_endian_word(tour->piece->memory + 8 * tour->next++);
        if ((descriptor & 1) == 0) {
            continue;
        }
        tour->empty = false;
        if (level + depth == 3 || (descriptor & 2) == 0) {
            h->leaf_count++;
        } else {
            uint64_t address = table_address(h, descriptor);
            struct host_piece *piece = piece_at(h, address);

            CHECK(piece != NULL && piece->physical == address);
            depth++;
            enter_table(h, &tours[depth], piece, level + depth,
                        tour->first + ((uint64_t)(tour->next - 1)
                                       << rules_level_shift(&h->rules, level + depth - 1)));
        }
    }
}

void host_note_empty(struct pgtable_host *h)
{
    host_observe(h);
    h->time++;
    for (size_t i = 0; i < h->piece_count; i++) {
        struct host_piece *piece = h->pieces[i];

        if (!piece->empty) {
            piece->emptied = 0;
            piece->is_counted = false;
        } else if (piece->emptied == 0) {
            piece->emptied = h->time;
        }
    }
}

/* What hardware takes notice of: not what is software's, or what a live leaf may change. */
static uint64_t lasting_bits(const struct pgtable_host *h, const struct host_piece *piece,
                             uint64_t descriptor)
{
    bool is_link = piece->level < 3 && (descriptor & 3) == 3;

    if (is_link) {
        /* 58:51 and 11:2 are software's, but for bit 10 (FEAT_HAFT) and the address. */
        uint64_t software = (0xffull << 51) | (h->rules.has_ds ? 0x8fcull : 0xbfcull);

        return descriptor & ~software;
    }
    /* Permissions, dirty state, software bits; and to become tagged is no break. */
    return descriptor & ~((0xffull << 51 & ~(1ull << 52)) | 0xc0ull);
}

static void observe_piece(const struct pgtable_host *h, struct host_piece *piece)
{
    bool may_be_split = (h->rules.config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0;

    for (size_t i = 0; i < piece->size / 8; i++) {
        uint64_t before = little_endian_word(piece->before + 8 * i);
        uint64_t now = little_endian_word(piece->memory + 8 * i);
        bool changed =
            before != now && lasting_bits(h, piece, before) != lasting_bits(h, piece, now);

        if ((before & 1) != 0 && changed && piece->linked) {
            /* A table is linked only after its content is visible. */
            CHECK(piece->was_linked);
            /* A valid descriptor becomes no other valid one. */
            CHECK((now & 1) == 0 || may_be_split);
        }
        /* What was taken out of the tree leads nowhere. */
        CHECK(piece->linked || !piece->once_linked || (now & 1) == 0);
    }
}

static void observe_barrier(struct pgtable_host *h)
{
    if (h->ready) {
        /* What is linked in the middle of a call need not stay so. */
        h->is_at_barrier = true;
        host_observe(h);
        h->is_at_barrier = false;
    }
    for (size_t i = 0; i < h->piece_count; i++) {
        struct host_piece *piece = h->pieces[i];

        if (piece->before == NULL) {
            continue;
        }
        if (h->ready) {
            observe_piece(h, piece);
        }
        piece->was_linked = piece->linked;
        memcpy(piece->before, piece->memory, piece->size);
    }
}

void host_note_release(struct pgtable_host *h)
{
    if (!h->is_watched) {
        return;
    }
    host_observe(h);
    for (size_t i = 0; i < h->piece_count; i++) {
        if (!h->pieces[i]->linked) {
            h->pieces[i]->once_linked = false;
        }
    }
}

static bool is_table(void *ctx, uint64_t physical, uint64_t size)
{
    struct pgtable_host *h = ctx;
    const struct host_piece *piece = piece_at(h, physical);

    return piece != NULL && piece->physical == physical && piece->size >= size &&
           fake_os_is_dma_memory(h->os, physical - h->offset, (size_t)size);
}

static void count_problem(void *ctx, const struct piommu_walker_problem *problem)
{
    struct pgtable_host *h = ctx;

    if (problem->kind == PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES &&
        (h->rules.config.flags & PIOMMU_PGTABLE_NON_SECURE) != 0 &&
        problem->descriptor >> 59 == 0x10) {
        return; /* NSTable, as was asked for */
    }
    if (problem->kind == PIOMMU_WALKER_PROBLEM_EXECUTE_NEVER &&
        (h->rules.config.flags & PIOMMU_PGTABLE_XNX) != 0) {
        return; /* the privileged alone may execute; the rights are compared elsewhere */
    }
    if (h->is_amid_call && (problem->kind == PIOMMU_WALKER_PROBLEM_CONTIGUOUS_MIXED ||
                            problem->kind == PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ATTRIBUTES)) {
        return; /* a group is made, changed and removed one member after the other */
    }
    fprintf(stderr, "%s at level %d, input 0x%llx: descriptor 0x%llx\n",
            piommu_walker_problem_name(problem->kind), problem->level,
            (unsigned long long)problem->input, (unsigned long long)problem->descriptor);
    abort();
}

void host_check_structure(struct pgtable_host *h)
{
    piommu_walker_check(&h->regime, &h->memory, is_table, count_problem, h);
}

uint64_t host_table_bytes(const struct pgtable_host *h)
{
    return h->rules.root_size + h->piece_count * (uint64_t)h->rules.config.granule;
}

void host_walk_as_cpu(struct pgtable_host *h, uint64_t iova, struct piommu_walker_result *result)
{
    static const struct piommu_walker_access nothing = {.privileged = true};

    piommu_walker_translate(&h->regime, &h->cpu_memory, iova, &nothing, result);
}

void host_walk(struct pgtable_host *h, uint64_t iova, struct piommu_walker_result *result)
{
    static const struct piommu_walker_access nothing = {.privileged = true};

    piommu_walker_translate(&h->regime, &h->memory, iova, &nothing, result);
}

/* ---- The shim ---- */

static void *shim_alloc(void *ctx, size_t size)
{
    struct pgtable_host *h = ctx;

    return h->below.alloc(h->os, size);
}

static void shim_free(void *ctx, void *memory, size_t size)
{
    struct pgtable_host *h = ctx;

    h->below.free(h->os, memory, size);
}

static void *shim_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct pgtable_host *h = ctx;
    struct piommu_dma_request inner = *request;
    struct host_piece *piece;
    uint64_t below;
    void *memory;

    CHECK(request->purpose == PIOMMU_DMA_TABLE);
    CHECK(request->owner == h->rules.config.owner);
    CHECK(request->max_physical <= h->rules.output_last);
    CHECK(request->alignment >= 64 && request->alignment >= request->size);
    if (FAKE_OS_MEMORY_BASE + h->offset + (FAKE_OS_MEMORY_SIZE - 1) > request->max_physical) {
        return NULL;
    }
    inner.max_physical = UINT64_MAX;
    memory = h->below.dma_alloc(h->os, &inner, &below);
    if (memory == NULL) {
        return NULL;
    }
    *physical = below + h->offset;
    piece = calloc(1, sizeof(*piece));
    piece->physical = *physical;
    piece->size = request->size;
    piece->memory = memory;
    if (h->is_watched) {
        piece->before = malloc(request->size);
        memcpy(piece->before, memory, request->size);
    }
    if (h->piece_count == h->piece_room) {
        h->piece_room = 2 * h->piece_room + 16;
        h->pieces = realloc(h->pieces, h->piece_room * sizeof(*h->pieces));
    }
    h->pieces[h->piece_count++] = piece;
    h->piece_at[(below - FAKE_OS_MEMORY_BASE) / FAKE_OS_PAGE_SIZE] = piece;
    return memory;
}

static void shim_dma_free(void *ctx, void *memory, size_t size)
{
    struct pgtable_host *h = ctx;
    size_t index = 0;

    while (index < h->piece_count && h->pieces[index]->memory != memory) {
        index++;
    }
    CHECK(index < h->piece_count);
    CHECK(!h->ready || h->pieces[index]->held_by == 0 || h->pieces[index]->held_by == h->releasing);
    h->piece_at[(h->pieces[index]->physical - h->offset - FAKE_OS_MEMORY_BASE) /
                FAKE_OS_PAGE_SIZE] = NULL;
    free(h->pieces[index]->before);
    free(h->pieces[index]);
    h->pieces[index] = h->pieces[--h->piece_count];
    h->below.dma_free(h->os, memory, size);
}

static void *shim_dma_virtual(void *ctx, uint64_t physical)
{
    struct pgtable_host *h = ctx;

    if (h->is_adopted_use) {
        return fake_os_pointer(h->os, physical - h->offset, 1);
    }
    return h->below.dma_virtual(h->os, physical - h->offset);
}

static void check_amid_call(struct pgtable_host *h)
{
    h->is_amid_call = true;
    host_check_structure(h);
    h->is_amid_call = false;
}

static void shim_cache_clean(void *ctx, const void *address, size_t size)
{
    struct pgtable_host *h = ctx;

    h->below.cache_clean(h->os, address, size);
    if (h->is_watched && h->ready && host_table_bytes(h) <= WATCHED_BYTES) {
        check_amid_call(h);
    }
}

static void shim_barrier(void *ctx, enum piommu_barrier kind)
{
    struct pgtable_host *h = ctx;

    h->below.barrier(h->os, kind);
    if (kind == PIOMMU_BARRIER_READ || !h->is_watched) {
        return;
    }
    observe_barrier(h);
    if (h->ready && !h->rules.config.coherent_walk && host_table_bytes(h) <= WATCHED_BYTES) {
        check_amid_call(h);
    }
}

/* The strict host calls this before it takes a table back. */
static void on_dma_free(void *ctx, uint64_t physical, uint64_t size)
{
    struct pgtable_host *h = ctx;

    /* No walk cache may lead to a table that is freed. */
    CHECK(!h->ready || !stale_tlb_table_reaches(h->tlb, physical + h->offset, size));
}

void host_settle(struct pgtable_host *h)
{
    h->below.barrier(h->os, PIOMMU_BARRIER_WRITE);
}

/* ---- Opening and closing ---- */

static enum piommu_walker_setup decode_registers(struct pgtable_host *h,
                                                 const struct piommu_walker_hardware *hardware)
{
    const struct piommu_pgtable_info *info = &h->info;
    const struct piommu_pgtable_info *lower = info;
    const struct piommu_pgtable_info *upper = NULL;
    bool is_upper = (info->flags & PIOMMU_PGTABLE_TTBR1) != 0;

    if (is_upper) {
        lower = NULL;
        upper = info;
    }
    switch (info->format) {
    case PIOMMU_ARM_64_LPAE_S1:
        return piommu_walker_regime_from_tcr(hardware, piommu_pgtable_tcr_el1(lower, upper),
                                             info->registers.stage1.ttbr,
                                             info->registers.stage1.mair, is_upper, &h->regime);
    case PIOMMU_ARM_64_LPAE_S2:
        return piommu_walker_regime_from_vtcr(hardware, piommu_pgtable_vtcr_el2(info),
                                              info->registers.stage2.vttbr, &h->regime);
    case PIOMMU_ARM_32_LPAE_S1:
        return piommu_walker_regime_from_ttbcr(
            hardware, piommu_pgtable_ttbcr(lower, upper), info->registers.stage1.ttbr,
            (uint32_t)info->registers.stage1.mair, (uint32_t)(info->registers.stage1.mair >> 32),
            is_upper, &h->regime);
    case PIOMMU_ARM_32_LPAE_S2:
        return piommu_walker_regime_from_aarch32_vtcr(hardware, piommu_pgtable_vtcr(info),
                                                      info->registers.stage2.vttbr, &h->regime);
    }
    return PIOMMU_WALKER_SETUP_UNSUPPORTED;
}

static void check_info(const struct pgtable_host *h)
{
    const struct piommu_pgtable_config *config = &h->rules.config;
    const struct piommu_pgtable_info *info = &h->info;
    uint64_t rounded = h->rules.root_size < 64 ? 64 : h->rules.root_size;

    CHECK(info->format == config->format && info->granule == config->granule);
    CHECK(info->flags == config->flags);
    CHECK(info->input_bits == config->input_bits && info->output_bits == config->output_bits);
    CHECK(info->coherent_walk == config->coherent_walk);
    CHECK(info->start_level == h->rules.start_level);
    CHECK(info->write_only == (h->rules.stage == 2));
    CHECK(!info->adopted);
    CHECK(info->aperture.first == h->rules.aperture.first);
    CHECK(info->aperture.last == h->rules.aperture.last);
    CHECK(info->leaf_sizes == h->rules.leaf_sizes);
    CHECK(info->contiguous_sizes == h->rules.contiguous_sizes);
    CHECK(info->root_size == h->rules.root_size || info->root_size == rounded);
    CHECK((info->root_physical & (rounded - 1)) == 0);
    CHECK(piece_at(h, info->root_physical) != NULL);
    CHECK(piece_at(h, info->root_physical)->physical == info->root_physical);
}

static void connect_hardware(struct pgtable_host *h, bool large)
{
    const struct piommu_pgtable_config *config = &h->rules.config;
    bool dirty = (config->flags & PIOMMU_PGTABLE_DIRTY) != 0;
    bool split = (config->flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0;
    struct piommu_walker_hardware hardware = {
        .physical_bits = large && !h->rules.is_32_bit ? 52 : config->output_bits,
        .has_small_tables = (config->flags & PIOMMU_PGTABLE_SMALL_INPUT) != 0,
        .has_large_virtual_addresses = config->input_bits > 48,
        .has_lpa2 = h->rules.has_ds || (large && !h->rules.is_32_bit),
        .has_execute_never_by_privilege = (config->flags & PIOMMU_PGTABLE_XNX) != 0,
        .has_access_flag_updates = dirty,
        .has_dirty_updates = dirty,
        .break_before_make_level = split ? 2 : 0,
    };
    enum piommu_walker_setup setup = decode_registers(h, &hardware);

    if (setup != PIOMMU_WALKER_SETUP_OK) {
        fprintf(stderr, "registers: %s\n", piommu_walker_setup_name(setup));
    }
    CHECK(setup == PIOMMU_WALKER_SETUP_OK);
    h->regime.mair_slots_in_use = 7;
    h->regime.forced_write_back = (config->flags & PIOMMU_PGTABLE_FORCE_WRITE_BACK) != 0;
    CHECK(h->regime.root == h->info.root_physical);
    CHECK(h->regime.input_bits == config->input_bits);
    CHECK(h->regime.start_level == h->rules.start_level);
    CHECK(piommu_walker_root_size(&h->regime) == h->rules.root_size);
    CHECK(h->regime.dirty_updates == dirty);
    CHECK(h->regime.uses_lpa2 == h->rules.has_ds);
}

static void choose_placement(struct pgtable_host *h, uint16_t placement)
{
    uint64_t room = h->rules.output_last - (FAKE_OS_MEMORY_SIZE - 1);
    uint64_t place = FAKE_OS_MEMORY_BASE;

    switch (placement % 8) {
    case 0:
        place = 0;
        break;
    case 1:
    case 2:
    case 3:
        place = room; /* at the top: all folded address bits are used */
        break;
    case 4:
        place = placement * (room / 65536);
        break;
    default:
        break;
    }
    place = place < room ? place : room;
    h->offset = (place & ~(uint64_t)(FAKE_OS_MEMORY_SIZE - 1)) - FAKE_OS_MEMORY_BASE;
}

static void prepare(struct pgtable_host *h, const struct pgtable_host_options *options)
{
    bool coherent = h->rules.config.coherent_walk;

    h->is_watched = options->is_watched;
    h->os = options->os;
    if (h->os == NULL) {
        struct fake_os_options os_options = {
            .scattered = options->scattered, .non_coherent = !coherent, .seed = 7};

        h->os = fake_os_create(&os_options);
        h->owns_os = true;
    }
    choose_placement(h, options->placement);
    h->below = *fake_os_host(h->os).os;
    h->shim = (struct piommu_os){
        .size = sizeof(struct piommu_os),
        .alloc = shim_alloc,
        .free = shim_free,
        .dma_alloc = shim_dma_alloc,
        .dma_free = shim_dma_free,
        .dma_virtual = options->scattered ? shim_dma_virtual : NULL,
        /* A walker that snoops does not need it, so it must not be asked for. */
        .cache_clean = coherent ? NULL : shim_cache_clean,
        .barrier = shim_barrier,
    };
    h->host = (struct piommu_host){.os = &h->shim, .ctx = h};
    h->memory = (struct piommu_walker_memory){
        .read64 = device_read64,
        .compare_exchange64 = coherent ? device_exchange64 : NULL,
        .ctx = h,
    };
    h->cpu_memory = (struct piommu_walker_memory){.read64 = cpu_read64, .ctx = h};
}

static void discard(struct pgtable_host *h)
{
    CHECK(h->piece_count == 0);
    CHECK(fake_os_bytes_outstanding(h->os) == 0);
    if (h->owns_os) {
        fake_os_destroy(h->os);
    }
    free(h->pieces);
    free(h);
}

/* PIOMMU_DESCRIPTOR_HALVES makes the library do without. */
#if ATOMIC_LLONG_LOCK_FREE == 2 && !defined(PIOMMU_DESCRIPTOR_HALVES)
#define HOST_HAS_ATOMICS true
#else
#define HOST_HAS_ATOMICS false
#endif

bool host_lacks_atomics(const struct piommu_pgtable_config *config)
{
    return (config->flags & (PIOMMU_PGTABLE_DIRTY | PIOMMU_PGTABLE_DISJOINT)) != 0 &&
           !HOST_HAS_ATOMICS;
}

struct pgtable_host *host_open(const struct piommu_pgtable_config *config,
                               const struct pgtable_host_options *options)
{
    struct pgtable_host *h = calloc(1, sizeof(*h));
    int result;

    rules_of_config(config, &h->rules);
    h->rules.config.owner = h;
    prepare(h, options);
    result = piommu_pgtable_create(h->host, &h->rules.config, &h->table);
    if (result == -PIOMMU_EOPNOTSUPP && host_lacks_atomics(config)) {
        discard(h);
        return NULL;
    }
    CHECK(result == 0);
    piommu_pgtable_get_info(h->table, &h->info);
    check_info(h);
    connect_hardware(h, options->large_hardware);
    h->tlb = stale_tlb_create();
    fake_os_on_dma_free(h->os, on_dma_free, h);
    h->ready = true;
    host_note_release(h);
    if (h->is_watched) {
        observe_barrier(h);
    }
    return h;
}

void host_close(struct pgtable_host *h, uint32_t budget)
{
    struct fake_os_counters before;
    struct fake_os_counters after;
    uint64_t calls = 0;
    uint64_t most = h->piece_count;
    int result = -PIOMMU_EAGAIN;

    for (size_t i = 0; i < h->piece_count; i++) {
        most += h->pieces[i]->size / 8;
    }
    h->ready = false; /* no hardware uses it any more */
    if (budget == 0) {
        piommu_pgtable_destroy(h->table);
        result = 0;
    }
    while (result == -PIOMMU_EAGAIN) {
        fake_os_get_counters(h->os, &before);
        result = piommu_pgtable_destroy_some(h->table, budget);
        fake_os_get_counters(h->os, &after);
        CHECK(after.dma_frees - before.dma_frees <= budget);
        calls++;
        CHECK(calls <= most / budget + 8);
    }
    CHECK(result == 0);
    fake_os_on_dma_free(h->os, NULL, NULL);
    stale_tlb_destroy(h->tlb);
    discard(h);
}

/* ---- Attributes ---- */

static bool rights_mean(const struct pgtable_host *h,
                        const struct piommu_walker_attributes *attributes, piommu_prot prot)
{
    const struct piommu_walker_rights *high = &attributes->privileged;
    const struct piommu_walker_rights *low = &attributes->unprivileged;
    bool read = (prot & PIOMMU_PROT_READ) != 0;
    bool write = (prot & PIOMMU_PROT_WRITE) != 0;
    bool execute = (prot & PIOMMU_PROT_EXECUTE) != 0;
    bool shared = (prot & PIOMMU_PROT_PRIVILEGED) == 0;

    if (high->read != read || high->write != write ||
        high->execute != ((prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0)) {
        return false;
    }
    if (h->rules.stage == 2) {
        return low->read == read && low->write == write && low->execute == execute;
    }
    /* Nobody executes what he may not read, with any bits. */
    return low->read == (read && shared) && low->write == (write && shared) &&
           (low->execute && low->read) == execute;
}

bool host_attributes_mean(const struct pgtable_host *h,
                          const struct piommu_walker_attributes *attributes, piommu_prot prot,
                          bool is_group, bool tracked)
{
    uint8_t type = (prot & PIOMMU_PROT_DEVICE) != 0         ? 0x04
                   : (prot & PIOMMU_PROT_NONCACHEABLE) != 0 ? 0x44
                                                            : 0xff;
    bool is_cacheable = type == 0xff;
    bool stage1 = h->rules.stage == 1;

    if (attributes->memory_type_is_reserved || attributes->memory_type_is_inherited ||
        attributes->memory_type != type || !attributes->access_flag ||
        attributes->contiguous != is_group || attributes->dirty_bit_modifier != tracked) {
        return false;
    }
    /* Where one field is for all memory, it says nothing of what is not cacheable. */
    if ((is_cacheable || !h->rules.has_ds) &&
        attributes->shareability != rules_shareability(&h->rules, prot)) {
        return false;
    }
    if (stage1 &&
        (attributes->not_global != ((prot & PIOMMU_PROT_GLOBAL) == 0) ||
         attributes->non_secure != ((h->rules.config.flags & PIOMMU_PGTABLE_NON_SECURE) != 0))) {
        return false;
    }
    return rights_mean(h, attributes, prot);
}
