/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "disjoint_host.h"

#include "pgtable_fixture.h"

#include <piommu/io-pgtable-inspect.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PHYSICAL_BASE 0x80000000ull
#define PATTERN_FRESH 0xa5
#define PATTERN_FREED 0xdd
#define MAGIC         0x64697330696e7431ull
#define LINE_WORDS    (FAKE_OS_CACHE_LINE / 8)
#define ROOT_TABLES   16u

/*
 * Looking at the memory from outside, as hardware does, is no race, and no order between threads
 * must come from it: so the loads are relaxed, and the thread sanitizer looks away.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_THREAD_SANITIZER
#endif
#endif

#ifdef HAS_THREAD_SANITIZER
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreSyncBegin(const char *file, int line);
void AnnotateIgnoreSyncEnd(const char *file, int line);

static void begin_looking(void)
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
}

static void end_looking(void)
{
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
static void begin_looking(void)
{
}

static void end_looking(void)
{
}
#endif

/* In front of each object. */
struct header {
    uint64_t magic;
    uint64_t size;
};

static _Thread_local unsigned int this_thread = DISJOINT_THREADS;

void disjoint_become(unsigned int thread)
{
    this_thread = thread;
}

struct disjoint_share *disjoint_share(struct disjoint_host *h)
{
    return &h->shares[this_thread];
}

/* ---- Places ---- */

/* A table is kept in the byte order of hardware: little-endian. */
static uint64_t number_of_word(uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return word;
#else
    uint8_t bytes[8];

    memcpy(bytes, &word, sizeof(bytes));
    return little_endian_word(bytes);
#endif
}

static size_t slot_word(const struct disjoint_host *h, size_t slot)
{
    /* The root has the room of several tables. */
    return slot == 0 ? 0 : (slot + ROOT_TABLES - 1) << h->slot_shift;
}

static size_t slot_of_word(const struct disjoint_host *h, size_t word)
{
    size_t place = word >> h->slot_shift;

    return place < ROOT_TABLES ? 0 : place - (ROOT_TABLES - 1);
}

/* Scattered: in the opposite order, so that virtual minus physical is nowhere the same. */
static uint64_t slot_physical(const struct disjoint_host *h, size_t slot)
{
    size_t place = h->scattered && slot != 0 ? h->slot_count - slot : slot;

    return PHYSICAL_BASE + 8 * (uint64_t)slot_word(h, place);
}

size_t disjoint_slot(const struct disjoint_host *h, uint64_t physical)
{
    size_t place;

    if (physical < PHYSICAL_BASE || (physical - PHYSICAL_BASE) / 8 >= h->word_count) {
        return SIZE_MAX;
    }
    place = slot_of_word(h, (size_t)((physical - PHYSICAL_BASE) / 8));
    return h->scattered && place != 0 ? h->slot_count - place : place;
}

/* The word of an address; false: it is not in table memory. */
static bool word_of_pointer(const struct disjoint_host *h, const volatile void *address,
                            size_t *word)
{
    uintptr_t begin = (uintptr_t)h->words;
    uintptr_t place = (uintptr_t)address;

    if (place < begin || (place - begin) / 8 >= h->word_count) {
        return false;
    }
    *word = (size_t)(place - begin) / 8;
    return true;
}

bool disjoint_physical(const struct disjoint_host *h, const volatile void *address,
                       uint64_t *physical)
{
    size_t word;
    size_t slot;

    if (!word_of_pointer(h, address, &word)) {
        return false;
    }
    slot = slot_of_word(h, word);
    *physical = slot_physical(h, slot) + 8 * (uint64_t)(word - slot_word(h, slot));
    return true;
}

static bool is_in_use(const struct disjoint_host *h, size_t slot)
{
    return atomic_load_explicit(&h->slots[slot].in_use, memory_order_relaxed) != 0;
}

bool disjoint_is_table(const struct disjoint_host *h, uint64_t physical, uint64_t size)
{
    size_t slot = disjoint_slot(h, physical);

    return slot != SIZE_MAX && is_in_use(h, slot) &&
           physical - slot_physical(h, slot) + size <=
               atomic_load_explicit(&h->slots[slot].size, memory_order_relaxed);
}

static bool read_view(void *ctx, uint64_t physical, uint64_t *value)
{
    const struct disjoint_reader *reader = ctx;
    const struct disjoint_host *h = reader->h;
    const _Atomic(uint64_t) *words =
        reader->view == DISJOINT_STORED ? h->words : h->seen[reader->view];
    size_t slot = disjoint_slot(h, physical);
    uint64_t offset;

    if (slot == SIZE_MAX || !is_in_use(h, slot)) {
        return false;
    }
    offset = physical - slot_physical(h, slot);
    if (offset >= atomic_load_explicit(&h->slots[slot].size, memory_order_relaxed)) {
        return false;
    }
    begin_looking();
    *value = number_of_word(atomic_load_explicit(&words[slot_word(h, slot) + (size_t)offset / 8],
                                                 memory_order_relaxed));
    end_looking();
    return true;
}

void disjoint_walk(struct disjoint_host *h, enum disjoint_view view, uint64_t iova,
                   struct piommu_walker_result *result)
{
    static const struct piommu_walker_access nothing = {.privileged = true};

    piommu_walker_translate(&h->regime, &h->memory[view], iova, &nothing, result);
}

/* The first view that is not what was stored: where the walker snoops there is none. */
static unsigned int first_seen(const struct disjoint_host *h)
{
    return h->rules.config.coherent_walk ? DISJOINT_VIEWS : DISJOINT_CLEANED;
}

/* ---- Links ---- */

uint64_t disjoint_link_target(const struct disjoint_host *h, uint64_t descriptor)
{
    uint64_t mask = h->rules.config.granule - 1;

    /* All tables lie below 4 GiB: no address is folded. */
    return descriptor & 0x0000ffffffffffffull & ~mask;
}

/* The slot of a table with a link to this one; SIZE_MAX: there is none. */
static size_t parent_of(const struct disjoint_host *h, size_t slot)
{
    uint64_t physical = slot_physical(h, slot);
    size_t parent = SIZE_MAX;

    begin_looking();
    for (size_t i = 0; i < h->slot_count && parent == SIZE_MAX; i++) {
        size_t count = atomic_load_explicit(&h->slots[i].size, memory_order_relaxed) / 8;

        for (size_t j = 0; i != slot && is_in_use(h, i) && j < count; j++) {
            uint64_t word = number_of_word(
                atomic_load_explicit(&h->words[slot_word(h, i) + j], memory_order_relaxed));

            if ((word & 3) == 3 && disjoint_link_target(h, word) == physical) {
                parent = i;
                break;
            }
        }
    }
    end_looking();
    return parent;
}

bool disjoint_is_linked(const struct disjoint_host *h, uint64_t physical)
{
    size_t slot = disjoint_slot(h, physical);

    for (unsigned int level = 0; level < PIOMMU_WALKER_MAXIMUM_STEPS && slot != SIZE_MAX; level++) {
        if (slot == 0) {
            return true;
        }
        slot = parent_of(h, slot);
    }
    return slot == 0;
}

uint64_t disjoint_tables_held(const struct disjoint_host *h)
{
    uint64_t count = 0;

    for (size_t i = 1; i < h->slot_count; i++) {
        count += is_in_use(h, i);
    }
    return count;
}

/* ---- The shim ---- */

static struct disjoint_share *enter(struct disjoint_host *h)
{
    if (h->at_callback != NULL) {
        h->at_callback(h->hook_ctx);
    }
    return disjoint_share(h);
}

static void *shim_alloc(void *ctx, size_t size)
{
    struct disjoint_host *h = ctx;
    struct disjoint_share *share = enter(h);
    struct header *header;

    CHECK((share->forbidden & FAKE_OS_FORBID_ALLOCATION) == 0);
    CHECK(size != 0);
    header = malloc(sizeof(*header) + size);
    header->magic = MAGIC;
    header->size = size;
    memset(header + 1, PATTERN_FRESH, size);
    atomic_fetch_add_explicit(&h->object_bytes, size, memory_order_relaxed);
    return header + 1;
}

static void shim_free(void *ctx, void *memory, size_t size)
{
    struct disjoint_host *h = ctx;
    struct disjoint_share *share = enter(h);
    struct header *header = (struct header *)memory - 1;

    CHECK((share->forbidden & FAKE_OS_FORBID_FREE) == 0);
    CHECK(header->magic == MAGIC && header->size == size);
    memset(header, PATTERN_FREED, sizeof(*header) + size);
    free(header);
    atomic_fetch_sub_explicit(&h->object_bytes, size, memory_order_relaxed);
}

/* From either end, so that memory comes back at once as well as late. */
static size_t take_slot(struct disjoint_host *h, struct disjoint_share *share)
{
    size_t index;

    share->count--;
    if ((pgtable_random(&share->random) & 1) != 0) {
        index = share->first;
        share->first = (share->first + 1) % h->slot_count;
    } else {
        index = (share->first + share->count) % h->slot_count;
    }
    return share->slots[index];
}

static bool has_to_fail(struct disjoint_share *share, bool is_root)
{
    bool fails = (pgtable_random(&share->random) & 0xffff) < share->fail_chance ||
                 (share->count == 0 && !is_root);

    if (share->fail_at != 0) {
        share->fail_at--;
        fails = fails || share->fail_at == 0;
    }
    share->failures += fails;
    return fails;
}

static void *shim_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct disjoint_host *h = ctx;
    struct disjoint_share *share = enter(h);
    bool is_root = !is_in_use(h, 0);
    size_t slot = 0;
    size_t word;

    CHECK((share->forbidden & FAKE_OS_FORBID_ALLOCATION) == 0);
    CHECK(request->purpose == PIOMMU_DMA_TABLE && request->owner == h->rules.config.owner);
    CHECK(request->max_physical <= h->rules.output_last);
    CHECK(request->size <= (is_root ? ROOT_TABLES : 1) * h->slot_bytes);
    CHECK(request->alignment >= 64 && request->alignment >= request->size);
    if (has_to_fail(share, is_root)) {
        return NULL;
    }
    if (!is_root) {
        CHECK(request->size == h->slot_bytes);
        slot = take_slot(h, share);
    }
    CHECK(atomic_exchange_explicit(&h->slots[slot].in_use, 1u, memory_order_relaxed) == 0);
    atomic_store_explicit(&h->slots[slot].size, request->size, memory_order_relaxed);
    atomic_store_explicit(&h->slots[slot].taker, this_thread, memory_order_relaxed);
    word = slot_word(h, slot);
    memset((void *)&h->words[word], PATTERN_FRESH, request->size);
    for (size_t i = 0; i < request->size / 8; i++) {
        for (unsigned int view = first_seen(h); view < DISJOINT_VIEWS; view++) {
            /* Garbage that was there before: a block to somewhere. */
            atomic_store_explicit(&h->seen[view][word + i], 0xa5a5a5a5a5a5a5a5ull,
                                  memory_order_relaxed);
        }
    }
    share->allocations++;
    *physical = slot_physical(h, slot);
    return (void *)&h->words[word];
}

static void forget_lines(struct disjoint_share *share, size_t slot)
{
    size_t kept = 0;

    for (size_t i = 0; i < share->line_count; i++) {
        if (share->lines[i].slot != slot) {
            share->lines[kept++] = share->lines[i];
        }
    }
    share->line_count = kept;
}

static void shim_dma_free(void *ctx, void *memory, size_t size)
{
    struct disjoint_host *h = ctx;
    struct disjoint_share *share = enter(h);
    size_t word = 0;
    size_t slot;

    CHECK((share->forbidden & FAKE_OS_FORBID_FREE) == 0);
    CHECK(word_of_pointer(h, memory, &word));
    slot = slot_of_word(h, word);
    CHECK(is_in_use(h, slot));
    CHECK(memory == (void *)&h->words[slot_word(h, slot)]);
    CHECK(size == atomic_load_explicit(&h->slots[slot].size, memory_order_relaxed));
    if (h->table != NULL) {
        /* Somebody could walk to it. */
        CHECK(!disjoint_is_linked(h, slot_physical(h, slot)));
    }
    if (h->on_free != NULL) {
        h->on_free(h->hook_ctx, slot_physical(h, slot), size);
    }
    forget_lines(share, slot);
    memset(memory, PATTERN_FREED, size);
    share->frees++;
    CHECK(atomic_exchange_explicit(&h->slots[slot].in_use, 0u, memory_order_relaxed) != 0);
    if (slot != 0) {
        /* While there are no threads, all goes back to where it came from. */
        share = this_thread < DISJOINT_THREADS ? share : &h->shares[(slot - 1) / h->share_slots];
        share->slots[(share->first + share->count) % h->slot_count] = slot;
        share->count++;
    }
}

static void *shim_dma_virtual(void *ctx, uint64_t physical)
{
    struct disjoint_host *h = ctx;
    size_t slot = disjoint_slot(h, physical);

    /* Not a place to switch: it is asked for on each level of each walk, and changes nothing. */
    CHECK(slot != SIZE_MAX && is_in_use(h, slot));
    return (uint8_t *)&h->words[slot_word(h, slot)] + (physical - slot_physical(h, slot));
}

/*
 * Hardware sees the line as it is now: a clean writes back what is there when it happens. It does
 * so in one step, lest what another thread has cleaned meanwhile becomes older again.
 */
static void let_arrive(struct disjoint_host *h, enum disjoint_view view, size_t word)
{
    begin_looking();
    while (atomic_exchange_explicit(&h->is_arriving, 1u, memory_order_acquire) != 0) {
    }
    for (size_t i = word; i < word + LINE_WORDS && i < h->word_count; i++) {
        atomic_store_explicit(&h->seen[view][i],
                              atomic_load_explicit(&h->words[i], memory_order_relaxed),
                              memory_order_relaxed);
    }
    atomic_store_explicit(&h->is_arriving, 0u, memory_order_release);
    end_looking();
}

static void let_line_arrive(struct disjoint_host *h, size_t word)
{
    let_arrive(h, DISJOINT_CLEANED, word);
    let_arrive(h, DISJOINT_LEAKED, word);
}

static void shim_cache_clean(void *ctx, const void *address, size_t size)
{
    struct disjoint_host *h = ctx;
    struct disjoint_share *share = enter(h);
    size_t first = 0;
    size_t last = 0;
    size_t slot;

    CHECK(size != 0);
    CHECK(word_of_pointer(h, address, &first));
    CHECK(word_of_pointer(h, (const uint8_t *)address + (size - 1), &last));
    slot = slot_of_word(h, first);
    CHECK(slot_of_word(h, last) == slot && is_in_use(h, slot));
    CHECK(8 * (last - slot_word(h, slot)) <
          atomic_load_explicit(&h->slots[slot].size, memory_order_relaxed));
    for (size_t word = first & ~(size_t)(LINE_WORDS - 1); word <= last; word += LINE_WORDS) {
        /* Without a barrier the order is open: a line may arrive before others that were first. */
        if ((pgtable_random(&share->random) & 1) != 0) {
            let_line_arrive(h, word);
            continue;
        }
        if (share->line_count == share->line_room) {
            share->line_room = 2 * share->line_room + 64;
            share->lines = realloc(share->lines, share->line_room * sizeof(*share->lines));
        }
        share->lines[share->line_count++] = (struct disjoint_line){.word = word, .slot = slot};
    }
}

static void shim_barrier(void *ctx, enum piommu_barrier kind)
{
    struct disjoint_host *h = ctx;
    struct disjoint_share *share = enter(h);

    if (kind == PIOMMU_BARRIER_READ) {
        return;
    }
    for (size_t i = 0; i < share->line_count; i++) {
        let_line_arrive(h, share->lines[i].word);
    }
    share->line_count = 0;
}

void disjoint_leak(struct disjoint_host *h, unsigned int chance, uint64_t *random)
{
    for (size_t slot = 0; slot < h->slot_count; slot++) {
        size_t count = atomic_load_explicit(&h->slots[slot].size, memory_order_relaxed) / 8;

        for (size_t i = 0; is_in_use(h, slot) && i < count; i += LINE_WORDS) {
            if ((pgtable_random(random) & 0xffff) < chance) {
                let_arrive(h, DISJOINT_LEAKED, slot_word(h, slot) + i);
            }
        }
    }
}

/* ---- Opening and closing ---- */

static void *aligned_memory(size_t alignment, size_t size)
{
    void *memory = aligned_alloc(alignment, (size + alignment - 1) & ~(alignment - 1));

    CHECK(memory != NULL);
    return memory;
}

static void prepare_memory(struct disjoint_host *h, const struct disjoint_options *options)
{
    size_t alignment = ROOT_TABLES * h->slot_bytes;
    size_t next = 1;

    h->share_slots = options->tables_per_thread;
    h->slot_count = 1 + (DISJOINT_THREADS + 1) * h->share_slots;
    h->word_count = slot_word(h, h->slot_count);
    h->words = aligned_memory(alignment, 8 * h->word_count);
    for (unsigned int view = first_seen(h); view < DISJOINT_VIEWS; view++) {
        h->seen[view] = aligned_memory(alignment, 8 * h->word_count);
    }
    h->slots = calloc(h->slot_count, sizeof(*h->slots));
    for (unsigned int i = 0; i <= DISJOINT_THREADS; i++) {
        struct disjoint_share *share = &h->shares[i];

        share->slots = calloc(h->slot_count, sizeof(*share->slots));
        share->random = options->seed + i;
        while (share->count < options->tables_per_thread) {
            share->slots[share->count++] = next++;
        }
    }
}

static void connect_hardware(struct disjoint_host *h)
{
    piommu_pgtable_get_info(h->table, &h->info);
    CHECK(h->info.flags == h->rules.config.flags);
    CHECK(decode_registers(&h->info, h->rules.config.output_bits, &h->regime) ==
          PIOMMU_WALKER_SETUP_OK);
    for (unsigned int view = 0; view < DISJOINT_VIEWS; view++) {
        h->readers[view] = (struct disjoint_reader){.h = h, .view = (enum disjoint_view)view};
        if (h->rules.config.coherent_walk) {
            h->readers[view].view = DISJOINT_STORED;
        }
        h->memory[view] =
            (struct piommu_walker_memory){.read64 = read_view, .ctx = &h->readers[view]};
    }
}

struct disjoint_host *disjoint_open(const struct piommu_pgtable_config *config,
                                    const struct disjoint_options *options)
{
    struct disjoint_host *h = calloc(1, sizeof(*h));
    int result;

    atomic_init(&h->is_arriving, 0u);
    rules_of_config(config, &h->rules);
    h->rules.config.owner = h;
    h->scattered = options->scattered;
    h->slot_bytes = config->granule;
    h->slot_shift = h->rules.granule_shift - 3;
    prepare_memory(h, options);
    h->shim = (struct piommu_os){
        .size = sizeof(struct piommu_os),
        .alloc = shim_alloc,
        .free = shim_free,
        .dma_alloc = shim_dma_alloc,
        .dma_free = shim_dma_free,
        .dma_virtual = options->scattered ? shim_dma_virtual : NULL,
        /* A walker that snoops does not need it, so it must not be asked for. */
        .cache_clean = config->coherent_walk ? NULL : shim_cache_clean,
        .barrier = shim_barrier,
    };
    h->host = (struct piommu_host){.os = &h->shim, .ctx = h};
    disjoint_become(DISJOINT_THREADS);
    result = piommu_pgtable_create(h->host, &h->rules.config, &h->table);
    CHECK(result == 0);
    connect_hardware(h);
    return h;
}

void disjoint_close(struct disjoint_host *h)
{
    struct piommu_pgtable *table = h->table;

    disjoint_become(DISJOINT_THREADS);
    h->table = NULL; /* no hardware uses it any more */
    h->at_callback = NULL;
    h->on_free = NULL;
    piommu_pgtable_destroy(table);
    CHECK(disjoint_tables_held(h) == 0 && !is_in_use(h, 0));
    CHECK(atomic_load_explicit(&h->object_bytes, memory_order_relaxed) == 0);
    for (unsigned int i = 0; i <= DISJOINT_THREADS; i++) {
        free(h->shares[i].slots);
        free(h->shares[i].lines);
    }
    for (unsigned int view = DISJOINT_CLEANED; view < DISJOINT_VIEWS; view++) {
        free((void *)h->seen[view]);
    }
    free((void *)h->words);
    free(h->slots);
    free(h);
}

/* ---- When all is quiet ---- */

static bool is_table(void *ctx, uint64_t physical, uint64_t size)
{
    return disjoint_is_table(ctx, physical, size);
}

static void report_problem(void *ctx, const struct piommu_walker_problem *problem)
{
    (void)ctx;
    fprintf(stderr, "%s at level %d, input 0x%llx: descriptor 0x%llx\n",
            piommu_walker_problem_name(problem->kind), problem->level,
            (unsigned long long)problem->input, (unsigned long long)problem->descriptor);
}

static void complain(void *cookie, const struct piommu_pgtable_problem *problem)
{
    (void)cookie;
    fprintf(stderr, "%s at level %d, input 0x%llx: descriptor 0x%llx\n",
            piommu_pgtable_problem_name(problem->kind), problem->step.level,
            (unsigned long long)problem->step.covers.first,
            (unsigned long long)problem->step.descriptor);
}

struct count_context {
    const struct disjoint_host *h;
    struct disjoint_counts counts;
};

static bool count_link(void *ctx, const struct piommu_walker_link *link)
{
    struct count_context *count = ctx;
    const struct disjoint_host *h = count->h;
    size_t slot = disjoint_slot(h, link->next.table);
    bool is_empty = true;

    CHECK(slot != SIZE_MAX && slot != 0 && is_in_use(h, slot));
    for (size_t i = 0; i < h->slot_bytes / 8; i++) {
        uint64_t word = number_of_word(
            atomic_load_explicit(&h->words[slot_word(h, slot) + i], memory_order_relaxed));

        is_empty = is_empty && (word & 1) == 0;
    }
    count->counts.linked++;
    count->counts.empty += is_empty;
    return true;
}

static bool count_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct count_context *count = ctx;

    (void)leaf;
    count->counts.leaves++;
    return true;
}

static void count_all(struct disjoint_host *h, enum disjoint_view view,
                      struct disjoint_counts *counts)
{
    struct count_context count = {.h = h};

    CHECK(piommu_walker_check(&h->regime, &h->memory[view], is_table, report_problem, h) == 0);
    CHECK(piommu_walker_for_each_link(&h->regime, &h->memory[view], count_link, &count));
    CHECK(piommu_walker_for_each_leaf(&h->regime, &h->memory[view], count_leaf, &count));
    *counts = count.counts;
}

void disjoint_check_all(struct disjoint_host *h, struct disjoint_counts *counts)
{
    struct piommu_pgtable_statistics statistics;
    struct piommu_pgtable_report report;

    count_all(h, DISJOINT_STORED, counts);
    if (!h->rules.config.coherent_walk) {
        struct disjoint_counts seen;

        count_all(h, DISJOINT_CLEANED, &seen);
        CHECK(seen.linked == counts->linked && seen.leaves == counts->leaves);
    }
    CHECK(piommu_pgtable_verify(h->table, complain, NULL, &report) == 0);
    CHECK(report.tables == counts->linked && report.empty == counts->empty);
    CHECK(report.leaves == counts->leaves);

    piommu_pgtable_get_statistics(h->table, &statistics);
    CHECK(statistics.tables_allocated - statistics.tables_freed == disjoint_tables_held(h));
    CHECK(disjoint_tables_held(h) == counts->linked + statistics.tables_spare);
    CHECK(statistics.tables_spare <= statistics.tables_reserved);
    CHECK(statistics.tables_empty <= counts->empty);
    CHECK(statistics.tables_empty <= h->rules.config.empty_tables_kept);
}
