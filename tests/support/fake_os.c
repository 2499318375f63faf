/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "fake_os.h"

#include "little_endian.h"

#include <piommu/error.h>

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

/* As any table may be aligned. */
#define ARENA_ALIGNMENT 0x200000u
#define MAPPING_SIZE    ((size_t)FAKE_OS_MEMORY_SIZE + ARENA_ALIGNMENT)

#define PAGES          (FAKE_OS_MEMORY_SIZE / FAKE_OS_PAGE_SIZE)
#define PATTERN_FRESH  0xa5
#define PATTERN_FREED  0xdd
#define MAX_LOG_LENGTH 159u
#define MAX_WINDOWS    64u
#define MAX_JOINS      16u
#define WINDOW_BASE    0x10000000u /* not a pointer: only the fake OS understands it */
#define WINDOW_STRIDE  0x01000000u
#define MAGIC          0x70696f6d6d75ull

/* A piece of simulated physical memory in use. */
struct piece {
    uint64_t physical;
    size_t size; /* as asked for */
    size_t pages;
    size_t offset;    /* in its first page: nobody gets an alignment that was not asked for */
    uint8_t *memory;  /* what the CPU sees */
    uint8_t *visible; /* what hardware sees, if the memory is not coherent */
    uint8_t *synced;  /* not tables: what the CPU saw when a line was last cleaned or invalidated */
    bool *written;    /* rings: by a device since, line by line */
    uint8_t *unjoined; /* where the CPU saw it before it was joined with others */
    bool test_data;
};

/* Pieces that the CPU sees one behind the other. */
struct join {
    uint8_t *memory; /* NULL: is free */
    uint64_t size;
};

/* A line that was cleaned and need not have arrived yet. */
struct pending_line {
    struct piece *piece;
    uint64_t line;
    const void *cleaner; /* tells threads apart: a barrier is about what its own thread did */
};

/* In front of each object. */
struct header {
    uint64_t magic;
    uint64_t size;
    struct header *next;
    struct header *previous;
};

struct lock {
    pthread_mutex_t mutex;
    bool held;
};

struct window {
    uint64_t physical;
    uint64_t size;
    bool used;
};

struct fake_os {
    struct piommu_os callbacks;
    struct fake_os_options options;
    struct fake_os_device device;
    bool has_device;
    struct fake_os_bus bus;
    bool has_bus;
    pthread_mutex_t mutex; /* protects everything below */
    struct header *objects;
    uint8_t *arena; /* in the mapping, at a multiple of ARENA_ALIGNMENT */
    void *mapping;
    struct piece *page_owner[PAGES];
    struct pending_line *pending;
    size_t pending_count;
    size_t pending_room;
    uint64_t next_page;
    struct window windows[MAX_WINDOWS];
    struct join joins[MAX_JOINS];
    uint64_t piece_limit;
    unsigned int cpu;
    uint64_t bytes;
    uint32_t locks;
    uint32_t forbidden;
    uint64_t fail_in;
    bool fail_forever;
    void (*on_wait)(void *ctx);
    void *on_wait_ctx;
    void (*on_dma_free)(void *ctx, uint64_t physical, uint64_t size);
    void *on_dma_free_ctx;
    uint64_t time;
    bool frozen;
    uint32_t random;
    char last_log[MAX_LOG_LENGTH + 1];
    struct fake_os_counters counters;
};

static _Thread_local unsigned int locks_held;

static void broken(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/*
 * Says what is wrong on stderr too: an assertion outside the test's own thread would end silently.
 */
static void broken(const char *format, ...)
{
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "fake OS: %s\n", text);
    locks_held = 0;
    fail_msg("fake OS: %s", text);
    abort();
}

static struct fake_os *enter(void *ctx)
{
    struct fake_os *os = ctx;

    pthread_mutex_lock(&os->mutex);
    return os;
}

static void leave(struct fake_os *os)
{
    pthread_mutex_unlock(&os->mutex);
}

static void check_unlocked(const char *callback)
{
    if (locks_held != 0) {
        broken("%s was called with a lock held", callback);
    }
}

static void check_allowed(struct fake_os *os, unsigned int what, const char *callback)
{
    if ((os->forbidden & what) != 0) {
        leave(os);
        broken("%s was called where it is forbidden", callback);
    }
}

/* Counts a call that may fail; true if it has to. */
static bool has_to_fail(struct fake_os *os)
{
    os->counters.fallible_calls++;
    if (os->fail_in == 0) {
        return false;
    }
    if (os->fail_in > 1) {
        os->fail_in--;
        return false;
    }
    if (!os->fail_forever) {
        os->fail_in = 0;
    }
    return true;
}

/* ---- Objects ---- */

static void *os_alloc(void *ctx, size_t size)
{
    struct fake_os *os = enter(ctx);
    struct header *header;

    check_unlocked("alloc");
    check_allowed(os, FAKE_OS_FORBID_ALLOCATION, "alloc");
    if (size == 0) {
        broken("alloc of 0 bytes");
    }
    if (has_to_fail(os)) {
        leave(os);
        return NULL;
    }
    header = malloc(sizeof(*header) + size);
    if (header == NULL) {
        broken("the test machine has no memory");
    }
    header->magic = MAGIC;
    header->size = size;
    header->previous = NULL;
    header->next = os->objects;
    if (os->objects != NULL) {
        os->objects->previous = header;
    }
    os->objects = header;
    os->bytes += size;
    os->counters.allocations++;
    memset(header + 1, PATTERN_FRESH, size);
    leave(os);
    return header + 1;
}

static void os_free(void *ctx, void *memory, size_t size)
{
    struct fake_os *os = enter(ctx);
    struct header *header = (struct header *)memory - 1;

    check_unlocked("free");
    check_allowed(os, FAKE_OS_FORBID_FREE, "free");
    if (memory == NULL || header->magic != MAGIC) {
        broken("free of something that is not allocated");
    }
    if (header->size != size) {
        broken("free with size %zu of an object of %llu bytes", size,
               (unsigned long long)header->size);
    }
    if (header->previous != NULL) {
        header->previous->next = header->next;
    } else {
        os->objects = header->next;
    }
    if (header->next != NULL) {
        header->next->previous = header->previous;
    }
    os->bytes -= size;
    memset(header, PATTERN_FREED, sizeof(*header) + size);
    free(header);
    leave(os);
}

/* ---- DMA memory ---- */

static struct piece *piece_of(struct fake_os *os, uint64_t physical)
{
    struct piece *piece;

    if (physical < os->options.memory_base ||
        physical - os->options.memory_base >= FAKE_OS_MEMORY_SIZE) {
        return NULL;
    }
    piece = os->page_owner[(physical - os->options.memory_base) / FAKE_OS_PAGE_SIZE];
    return piece != NULL && physical >= piece->physical ? piece : NULL;
}

/* Finds a run of free pages, beginning behind the last one given out, so that reuse comes late. */
static bool find_pages(struct fake_os *os, uint64_t pages, uint64_t alignment, uint64_t *first)
{
    uint64_t step = alignment > FAKE_OS_PAGE_SIZE ? alignment / FAKE_OS_PAGE_SIZE : 1;
    uint64_t start = (os->next_page + step - 1) & ~(step - 1);

    for (uint64_t tried = 0; tried < 2 * PAGES; tried += step) {
        uint64_t page = (start + tried) % PAGES & ~(step - 1);
        uint64_t free_pages = 0;

        while (free_pages < pages && page + free_pages < PAGES &&
               os->page_owner[page + free_pages] == NULL) {
            free_pages++;
        }
        if (free_pages == pages) {
            *first = page;
            os->next_page = page + pages;
            return true;
        }
    }
    return false;
}

static struct piece *take_piece(struct fake_os *os, size_t size, size_t alignment)
{
    struct piece *piece = calloc(1, sizeof(*piece));
    uint64_t first;

    piece->size = size;
    piece->pages = (size + FAKE_OS_PAGE_SIZE - 1) / FAKE_OS_PAGE_SIZE;
    if (!find_pages(os, piece->pages, alignment, &first)) {
        broken("the simulated memory is used up");
    }
    if (alignment < FAKE_OS_PAGE_SIZE) {
        size_t grain = alignment > FAKE_OS_CACHE_LINE ? alignment : FAKE_OS_CACHE_LINE;

        piece->offset = (piece->pages * FAKE_OS_PAGE_SIZE - size) & ~(grain - 1);
    }
    piece->physical = os->options.memory_base + first * FAKE_OS_PAGE_SIZE + piece->offset;
    if (os->options.scattered) {
        size_t bytes = piece->pages * FAKE_OS_PAGE_SIZE;
        size_t grain = alignment > FAKE_OS_PAGE_SIZE ? alignment : FAKE_OS_PAGE_SIZE;

        piece->memory = aligned_alloc(grain, (bytes + grain - 1) & ~(grain - 1));
        piece->memory += piece->offset;
    } else {
        piece->memory = os->arena + first * FAKE_OS_PAGE_SIZE + piece->offset;
    }
    memset(piece->memory, PATTERN_FRESH, size);
    for (uint64_t i = 0; i < piece->pages; i++) {
        os->page_owner[first + i] = piece;
    }
    return piece;
}

static void give_piece(struct fake_os *os, struct piece *piece)
{
    uint64_t first = (piece->physical - os->options.memory_base) / FAKE_OS_PAGE_SIZE;
    size_t kept = 0;

    for (size_t i = 0; i < os->pending_count; i++) {
        if (os->pending[i].piece != piece) {
            os->pending[kept++] = os->pending[i];
        }
    }
    os->pending_count = kept;

    for (uint64_t i = 0; i < piece->pages; i++) {
        os->page_owner[first + i] = NULL;
    }
    memset(piece->memory, PATTERN_FREED, piece->size);
    if (os->options.scattered) {
        free(piece->memory - piece->offset);
    }
    free(piece->visible);
    free(piece->synced);
    free(piece->written);
    free(piece);
}

/* What hardware sees of a piece. */
static uint8_t *behind_cache(const struct piece *piece)
{
    return piece->visible != NULL ? piece->visible : piece->memory;
}

/* Does hardware see something else than the CPU in memory for this? */
static bool has_views(const struct fake_os *os, enum piommu_dma_purpose purpose)
{
    switch (purpose) {
    case PIOMMU_DMA_TABLE:
        return os->options.non_coherent;
    case PIOMMU_DMA_RING:
        return os->options.non_coherent_rings;
    case PIOMMU_DMA_BUFFER:
        return os->options.non_coherent_buffers;
    case PIOMMU_DMA_BUFFER_UNCACHED:
        return false;
    }
    broken("memory for purpose %d", (int)purpose);
}

/* Hardware gets a view of its own. */
static void split_views(struct fake_os *os, struct piece *piece, enum piommu_dma_purpose purpose)
{
    size_t bytes = piece->pages * FAKE_OS_PAGE_SIZE;

    if (!has_views(os, purpose)) {
        return;
    }
    piece->visible = malloc(bytes);
    memset(piece->visible, PATTERN_FRESH, bytes);
    if (purpose != PIOMMU_DMA_TABLE) {
        piece->synced = malloc(bytes);
        memset(piece->synced, PATTERN_FRESH, bytes);
    }
    if (purpose == PIOMMU_DMA_RING) {
        piece->written = calloc(bytes / FAKE_OS_CACHE_LINE, sizeof(*piece->written));
    }
}

static bool is_too_large(const struct fake_os *os, const struct piommu_dma_request *request)
{
    return os->piece_limit != 0 && request->size > os->piece_limit &&
           (request->purpose == PIOMMU_DMA_BUFFER ||
            request->purpose == PIOMMU_DMA_BUFFER_UNCACHED);
}

static void *os_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct fake_os *os = enter(ctx);
    struct piece *piece;

    check_unlocked("dma_alloc");
    check_allowed(os, FAKE_OS_FORBID_ALLOCATION, "dma_alloc");
    if (request->size == 0 || request->alignment == 0 ||
        (request->alignment & (request->alignment - 1)) != 0) {
        broken("dma_alloc of size %zu, alignment %zu", request->size, request->alignment);
    }
    os->counters.dma_limit = request->max_physical;
    if (has_to_fail(os) || is_too_large(os, request) ||
        request->max_physical < os->options.memory_base + FAKE_OS_MEMORY_SIZE - 1) {
        leave(os);
        return NULL;
    }
    os->next_page += os->piece_limit != 0; /* so that pieces do not adjoin */
    piece = take_piece(os, request->size, request->alignment);
    split_views(os, piece, request->purpose);
    os->bytes += request->size;
    os->counters.dma_allocations++;
    *physical = piece->physical;
    leave(os);
    return piece->memory;
}

static struct piece *piece_of_pointer(struct fake_os *os, const void *memory)
{
    const uint8_t *byte = memory;

    if (!os->options.scattered) {
        if (byte < os->arena || byte >= os->arena + FAKE_OS_MEMORY_SIZE) {
            return NULL;
        }
        return os->page_owner[(size_t)(byte - os->arena) / FAKE_OS_PAGE_SIZE];
    }
    for (uint64_t i = 0; i < PAGES; i++) {
        struct piece *piece = os->page_owner[i];

        if (piece != NULL && byte >= piece->memory && byte < piece->memory + piece->size) {
            return piece;
        }
    }
    return NULL;
}

static void os_dma_free(void *ctx, void *memory, size_t size)
{
    struct fake_os *os = enter(ctx);
    struct piece *piece = piece_of_pointer(os, memory);

    check_unlocked("dma_free");
    check_allowed(os, FAKE_OS_FORBID_FREE, "dma_free");
    if (piece == NULL || piece->test_data || piece->memory != memory) {
        broken("dma_free of something that is not allocated");
    }
    if (piece->size != size) {
        broken("dma_free with size %zu of %llu bytes", size, (unsigned long long)piece->size);
    }
    if (os->on_dma_free != NULL) {
        os->on_dma_free(os->on_dma_free_ctx, piece->physical, piece->size);
    }
    os->bytes -= size;
    os->counters.dma_frees++;
    give_piece(os, piece);
    leave(os);
}

static void *os_dma_virtual(void *ctx, uint64_t physical)
{
    struct fake_os *os = enter(ctx);
    struct piece *piece = piece_of(os, physical);

    if (piece == NULL) {
        broken("dma_virtual of an address that is not in use");
    }
    leave(os);
    return piece->memory + (physical - piece->physical);
}

/* ---- Memory of the caller, and pieces that are joined ---- */

static void *os_memory_at(void *ctx, uint64_t physical, uint64_t size)
{
    struct fake_os *os = enter(ctx);
    void *memory = size != 0 ? fake_os_pointer(os, physical, size) : NULL;

    if (memory == NULL) {
        broken("memory_at of %llu bytes at %#llx, which do not lie in one piece",
               (unsigned long long)size, (unsigned long long)physical);
    }
    leave(os);
    return memory;
}

static unsigned int os_cpu(void *ctx)
{
    struct fake_os *os = enter(ctx);
    unsigned int number = os->cpu;

    leave(os);
    return number;
}

/* The whole piece that a member of a list is. */
static struct piece *piece_to_join(struct fake_os *os, const struct piommu_segment *segment,
                                   enum piommu_dma_purpose purpose)
{
    struct piece *piece = piece_of(os, segment->physical);

    if (piece == NULL || piece->test_data || piece->physical != segment->physical ||
        piece->size != segment->size || piece->size % FAKE_OS_PAGE_SIZE != 0 ||
        piece->unjoined != NULL) {
        broken("dma_join of something that is not a piece of its own");
    }
    if ((piece->visible != NULL) != has_views(os, purpose)) {
        broken("dma_join for another purpose");
    }
    return piece;
}

/* Where the CPU saw the piece before is poisoned: who still looks there has not understood. */
static void move_view(struct piece *piece, uint8_t *memory)
{
    memcpy(memory, piece->memory, piece->size);
    memset(piece->memory, PATTERN_FREED, piece->size);
    piece->memory = memory;
}

static struct join *find_join(struct fake_os *os, const void *memory)
{
    for (unsigned int i = 0; i < MAX_JOINS; i++) {
        if (os->joins[i].memory == memory) {
            return &os->joins[i];
        }
    }
    broken("dma_join too often, or dma_split of what was not joined");
}

static void *os_dma_join(void *ctx, const struct piommu_segment *pieces, size_t count,
                         enum piommu_dma_purpose purpose)
{
    struct fake_os *os = enter(ctx);
    uint64_t done = 0;
    struct join *join;

    check_unlocked("dma_join");
    check_allowed(os, FAKE_OS_FORBID_ALLOCATION, "dma_join");
    if (has_to_fail(os)) {
        leave(os);
        return NULL;
    }
    join = find_join(os, NULL);
    join->size = 0;
    for (size_t i = 0; i < count; i++) {
        join->size += piece_to_join(os, &pieces[i], purpose)->size;
    }
    join->memory = aligned_alloc(FAKE_OS_PAGE_SIZE, (size_t)join->size);
    for (size_t i = 0; i < count; i++) {
        struct piece *piece = piece_of(os, pieces[i].physical);

        piece->unjoined = piece->memory;
        move_view(piece, join->memory + done);
        done += piece->size;
    }
    leave(os);
    return join->memory;
}

static void os_dma_split(void *ctx, void *memory, uint64_t size)
{
    struct fake_os *os = enter(ctx);
    struct join *join = find_join(os, memory);

    check_unlocked("dma_split");
    check_allowed(os, FAKE_OS_FORBID_FREE, "dma_split");
    if (join->size != size) {
        broken("dma_split with size %llu of %llu bytes", (unsigned long long)size,
               (unsigned long long)join->size);
    }
    for (uint64_t i = 0; i < PAGES; i++) {
        struct piece *piece = os->page_owner[i];

        if (piece != NULL && piece->unjoined != NULL && piece->memory >= join->memory &&
            piece->memory < join->memory + join->size) {
            move_view(piece, piece->unjoined);
            piece->unjoined = NULL;
        }
    }
    free(join->memory);
    join->memory = NULL;
    leave(os);
}

/* ---- Caches ---- */

/* The part of a line that lies in its piece. */
static size_t line_size(struct pending_line line)
{
    size_t rest = line.piece->size - (size_t)line.line * FAKE_OS_CACHE_LINE;

    return rest < FAKE_OS_CACHE_LINE ? rest : FAKE_OS_CACHE_LINE;
}

/*
 * What the CPU sees of a line. A clean that is pending may be carried out while another thread
 * writes to the line, as caches do: for the thread sanitizer that is no access by a thread.
 */
__attribute__((no_sanitize("thread"))) static size_t read_line(struct pending_line line,
                                                               uint8_t *bytes)
{
    const volatile uint8_t *memory = line.piece->memory + line.line * FAKE_OS_CACHE_LINE;
    size_t size = line_size(line);

    for (size_t i = 0; i < size; i++) {
        bytes[i] = memory[i];
    }
    return size;
}

static bool is_dirty(struct pending_line line)
{
    uint8_t bytes[FAKE_OS_CACHE_LINE];
    size_t size = read_line(line, bytes);

    return memcmp(bytes, line.piece->synced + line.line * FAKE_OS_CACHE_LINE, size) != 0;
}

/* Hardware sees the line as it is now: a clean writes back what is there when it happens. */
static void arrive(struct fake_os *os, struct pending_line line)
{
    const struct piece *piece = line.piece;
    uint64_t offset = line.line * FAKE_OS_CACHE_LINE;
    uint8_t bytes[FAKE_OS_CACHE_LINE];
    size_t size = read_line(line, bytes);

    if (piece->synced != NULL) {
        if (memcmp(bytes, piece->synced + offset, size) == 0) {
            return; /* caches write nothing back then */
        }
        if (piece->written != NULL) {
            os->counters.overwritten_lines += piece->written[line.line];
            piece->written[line.line] = false;
        }
        memcpy(piece->synced + offset, bytes, size);
    }
    memcpy(piece->visible + offset, bytes, size);
}

void fake_os_evict(struct fake_os *os)
{
    for (uint64_t i = 0; i < PAGES; i++) {
        struct piece *piece = os->page_owner[i];

        if (piece == NULL || piece->synced == NULL) {
            continue;
        }
        for (uint64_t line = 0; line * FAKE_OS_CACHE_LINE < piece->size; line++) {
            arrive(os, (struct pending_line){.piece = piece, .line = line});
        }
        i += piece->pages - 1;
    }
}

static void arrive_if_pending(struct fake_os *os, struct pending_line line)
{
    for (size_t i = 0; i < os->pending_count; i++) {
        if (os->pending[i].piece == line.piece && os->pending[i].line == line.line) {
            arrive(os, line);
            os->pending[i] = os->pending[--os->pending_count];
            return;
        }
    }
}

static void remember_line(struct fake_os *os, struct pending_line line)
{
    if (os->pending_count == os->pending_room) {
        os->pending_room = 2 * os->pending_room + 64;
        os->pending = realloc(os->pending, os->pending_room * sizeof(*os->pending));
    }
    os->pending[os->pending_count++] = line;
}

/* The lines of a range of memory that is not coherent: the first one, and how many. */
static struct pending_line lines_of(struct fake_os *os, const void *address, size_t size,
                                    const char *callback, uint64_t *count)
{
    struct piece *piece = piece_of_pointer(os, address);
    uint64_t offset;

    if (piece == NULL || size == 0) {
        broken("%s of something that is not DMA memory", callback);
    }
    offset = (uint64_t)((const uint8_t *)address - piece->memory);
    if (offset + size > piece->size) {
        broken("%s beyond the end of DMA memory", callback);
    }
    if (piece->visible == NULL) {
        broken("%s of coherent memory", callback);
    }
    *count = (offset + size - 1) / FAKE_OS_CACHE_LINE - offset / FAKE_OS_CACHE_LINE + 1;
    return (struct pending_line){
        .piece = piece, .line = offset / FAKE_OS_CACHE_LINE, .cleaner = &locks_held};
}

static void os_cache_clean(void *ctx, const void *address, size_t size)
{
    struct fake_os *os = enter(ctx);
    uint64_t count;
    struct pending_line line = lines_of(os, address, size, "cache_clean", &count);

    for (; count > 0; count--, line.line++) {
        os->counters.cleaned_lines++;
        /* Without a barrier the order is open: a line may arrive before others that were first. */
        os->random = os->random * 1664525u + 1013904223u;
        if ((os->random >> 31) != 0) {
            arrive(os, line);
        } else {
            remember_line(os, line);
        }
    }
    leave(os);
}

/* What was cleaned arrives first: caches keep the order of what is done to one line. */
static void os_cache_invalidate(void *ctx, const void *address, size_t size)
{
    struct fake_os *os = enter(ctx);
    uint64_t count;
    struct pending_line line = lines_of(os, address, size, "cache_invalidate", &count);

    if (line.piece->synced == NULL) {
        broken("cache_invalidate of memory for tables");
    }
    for (; count > 0; count--, line.line++) {
        uint64_t offset = line.line * FAKE_OS_CACHE_LINE;

        os->counters.invalidated_lines++;
        arrive_if_pending(os, line);
        if (is_dirty(line)) {
            broken("cache_invalidate of a line that the CPU has written and not cleaned");
        }
        memcpy(line.piece->memory + offset, line.piece->visible + offset, line_size(line));
        memcpy(line.piece->synced + offset, line.piece->visible + offset, line_size(line));
        if (line.piece->written != NULL) {
            line.piece->written[line.line] = false;
        }
    }
    leave(os);
}

static void os_barrier(void *ctx, enum piommu_barrier kind)
{
    struct fake_os *os = enter(ctx);

    os->counters.barriers++;
    if (kind != PIOMMU_BARRIER_READ) {
        size_t kept = 0;

        for (size_t i = 0; i < os->pending_count; i++) {
            if (os->pending[i].cleaner == &locks_held) {
                arrive(os, os->pending[i]);
            } else {
                os->pending[kept++] = os->pending[i];
            }
        }
        os->pending_count = kept;
    }
    leave(os);
}

/* ---- Registers ---- */

static int os_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    struct fake_os *os = enter(ctx);

    check_unlocked("mmio_map");
    if (size == 0 || size > WINDOW_STRIDE) {
        broken("mmio_map of %llu bytes", (unsigned long long)size);
    }
    if (has_to_fail(os)) {
        leave(os);
        return -PIOMMU_ENOMEM;
    }
    for (unsigned int i = 0; i < MAX_WINDOWS; i++) {
        if (!os->windows[i].used) {
            os->windows[i] = (struct window){.physical = physical, .size = size, .used = true};
            *base = WINDOW_BASE + (uintptr_t)i * WINDOW_STRIDE;
            leave(os);
            return 0;
        }
    }
    broken("too many MMIO windows");
}

/* The window of an access that lies in it wholly. */
static struct window *window_of(struct fake_os *os, uintptr_t address, uint64_t size)
{
    uintptr_t number = (address - WINDOW_BASE) / WINDOW_STRIDE;
    uint64_t offset = (address - WINDOW_BASE) % WINDOW_STRIDE;

    if (address < WINDOW_BASE || number >= MAX_WINDOWS || !os->windows[number].used ||
        offset >= os->windows[number].size || size > os->windows[number].size - offset) {
        broken("register access outside a mapped window");
    }
    return &os->windows[number];
}

static void os_mmio_unmap(void *ctx, uintptr_t base, uint64_t size)
{
    struct fake_os *os = enter(ctx);
    struct window *window = window_of(os, base, size);

    check_unlocked("mmio_unmap");
    if (window->size != size || (base - WINDOW_BASE) % WINDOW_STRIDE != 0) {
        broken("mmio_unmap of something else than was mapped");
    }
    window->used = false;
    leave(os);
}

static uint64_t physical_of(struct fake_os *os, uintptr_t address, unsigned int width)
{
    const struct window *window = window_of(os, address, width);
    uint64_t physical = window->physical + (address - WINDOW_BASE) % WINDOW_STRIDE;

    if ((address & (width - 1)) != 0 || (width != 1 && width != 2 && width != 4)) {
        broken("register access of width %u at an odd address", width);
    }
    return physical;
}

static uint64_t bar_offset(const struct fake_os *os, uint64_t physical)
{
    return physical - os->device.bar_address(os->device.ctx, os->device.bar);
}

static uint32_t os_mmio_read(void *ctx, uintptr_t address, unsigned int width)
{
    struct fake_os *os = enter(ctx);
    uint64_t physical = physical_of(os, address, width);
    uint32_t value;

    check_allowed(os, FAKE_OS_FORBID_MMIO, "mmio_read");
    if (os->has_bus) {
        value = os->bus.read(os->bus.ctx, physical, width);
    } else {
        value = os->device.mmio_read(os->device.ctx, bar_offset(os, physical), width);
    }
    leave(os);
    return value;
}

static void os_mmio_write(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    struct fake_os *os = enter(ctx);
    uint64_t physical = physical_of(os, address, width);

    check_allowed(os, FAKE_OS_FORBID_MMIO, "mmio_write");
    if (width < 4 && (value >> (8 * width)) != 0) {
        broken("register write of a value wider than the register");
    }
    if (os->has_bus) {
        os->bus.write(os->bus.ctx, physical, width, value);
    } else {
        os->device.mmio_write(os->device.ctx, bar_offset(os, physical), width, value);
    }
    leave(os);
}

static bool is_device(const struct fake_os *os, struct piommu_pci_function function)
{
    return os->has_device && function.segment == 0 && function.bdf == os->device.bdf;
}

static void check_config_access(unsigned int offset, unsigned int width)
{
    if ((width != 1 && width != 2 && width != 4) || (offset & (width - 1)) != 0 ||
        offset + width > 256) {
        broken("PCI configuration access of width %u at %u", width, offset);
    }
}

static uint32_t os_pci_config_read(void *ctx, struct piommu_pci_function function,
                                   unsigned int offset, unsigned int width)
{
    struct fake_os *os = enter(ctx);
    uint32_t value = UINT32_MAX >> (32 - 8 * width);

    check_unlocked("pci_config_read");
    check_config_access(offset, width);
    if (is_device(os, function)) {
        value = os->device.config_read(os->device.ctx, offset, width);
    }
    leave(os);
    return value;
}

static void os_pci_config_write(void *ctx, struct piommu_pci_function function, unsigned int offset,
                                unsigned int width, uint32_t value)
{
    struct fake_os *os = enter(ctx);

    check_unlocked("pci_config_write");
    check_config_access(offset, width);
    if (is_device(os, function)) {
        os->device.config_write(os->device.ctx, offset, width, value);
    }
    leave(os);
}

static int os_pci_bar(void *ctx, struct piommu_pci_function function, unsigned int number,
                      struct piommu_pci_bar *bar)
{
    struct fake_os *os = enter(ctx);

    check_unlocked("pci_bar");
    if (number > 5) {
        broken("pci_bar number %u", number);
    }
    if (has_to_fail(os)) {
        leave(os);
        return -PIOMMU_ENODEV;
    }
    bar->physical = 0;
    bar->size = 0;
    if (is_device(os, function)) {
        bar->physical = os->device.bar_address(os->device.ctx, number);
        bar->size = os->device.bar_size(os->device.ctx, number);
    }
    leave(os);
    return 0;
}

/* ---- Locks ---- */

static void *os_lock_create(void *ctx)
{
    struct fake_os *os = enter(ctx);
    struct lock *lock;

    check_unlocked("lock_create");
    check_allowed(os, FAKE_OS_FORBID_ALLOCATION, "lock_create");
    if (has_to_fail(os)) {
        leave(os);
        return NULL;
    }
    lock = calloc(1, sizeof(*lock));
    pthread_mutex_init(&lock->mutex, NULL);
    os->locks++;
    leave(os);
    return lock;
}

static void os_lock_destroy(void *ctx, void *lock_pointer)
{
    struct fake_os *os = enter(ctx);
    struct lock *lock = lock_pointer;

    check_unlocked("lock_destroy");
    if (lock->held) {
        broken("a lock that is held was destroyed");
    }
    os->locks--;
    pthread_mutex_destroy(&lock->mutex);
    free(lock);
    leave(os);
}

static unsigned long os_lock(void *ctx, void *lock_pointer)
{
    struct lock *lock = lock_pointer;

    (void)ctx;
    check_unlocked("lock");
    pthread_mutex_lock(&lock->mutex);
    lock->held = true;
    locks_held++;
    return (unsigned long)((uintptr_t)lock ^ 0x5au);
}

static void os_unlock(void *ctx, void *lock_pointer, unsigned long state)
{
    struct lock *lock = lock_pointer;

    (void)ctx;
    if (!lock->held || locks_held != 1) {
        broken("a lock that is not held was released");
    }
    if (state != (unsigned long)((uintptr_t)lock ^ 0x5au)) {
        broken("unlock did not get the state that lock returned");
    }
    locks_held--;
    lock->held = false;
    pthread_mutex_unlock(&lock->mutex);
}

/* ---- Time and log ---- */

static uint64_t os_now(void *ctx)
{
    struct fake_os *os = enter(ctx);
    uint64_t time;

    check_unlocked("now");
    os->time += os->frozen ? 0 : 1000;
    time = os->time;
    leave(os);
    return time;
}

static void let_work(struct fake_os *os)
{
    os->time += 10000;
    if (os->has_device && os->device.progress != NULL) {
        os->device.progress(os->device.ctx);
    }
    if (os->has_bus && os->bus.progress != NULL) {
        os->bus.progress(os->bus.ctx);
    }
}

static bool was_interrupted(struct fake_os *os)
{
    return (os->has_device && os->device.interrupted(os->device.ctx)) ||
           (os->has_bus && os->bus.interrupted(os->bus.ctx));
}

/* Devices get the time to do something before it is looked whether they have interrupted. */
static void sleep_until(struct fake_os *os, uint64_t deadline)
{
    do {
        let_work(os);
        if (was_interrupted(os)) {
            return;
        }
        leave(os); /* others are awake */
        (void)enter(os);
    } while (os->time < deadline);
}

static void os_wait(void *ctx, uint64_t deadline)
{
    struct fake_os *os = enter(ctx);

    check_unlocked("wait");
    check_allowed(os, FAKE_OS_FORBID_WAIT, "wait");
    if (deadline <= os->time - 1000 && !os->frozen && !os->options.threads) {
        broken("wait with a deadline that had passed before");
    }
    os->counters.waits++;
    if (os->options.sleeps) {
        sleep_until(os, deadline);
    } else {
        let_work(os);
    }
    leave(os);
    if (os->on_wait != NULL) {
        os->on_wait(os->on_wait_ctx);
    }
}

static void os_log(void *ctx, enum piommu_log_level level, const char *line)
{
    struct fake_os *os = enter(ctx);
    size_t length = strlen(line);

    (void)level;
    check_unlocked("log");
    if (length > MAX_LOG_LENGTH || strchr(line, '\n') != NULL) {
        broken("a log line is too long or has a newline: %s", line);
    }
    memcpy(os->last_log, line, length + 1);
    os->counters.log_lines++;
    leave(os);
}

static const struct piommu_os strict_callbacks = {
    .size = sizeof(struct piommu_os),
    .alloc = os_alloc,
    .free = os_free,
    .dma_alloc = os_dma_alloc,
    .dma_free = os_dma_free,
    .cache_clean = os_cache_clean,
    .barrier = os_barrier,
    .mmio_map = os_mmio_map,
    .mmio_unmap = os_mmio_unmap,
    .mmio_read = os_mmio_read,
    .mmio_write = os_mmio_write,
    .pci_config_read = os_pci_config_read,
    .pci_config_write = os_pci_config_write,
    .pci_bar = os_pci_bar,
    .lock_create = os_lock_create,
    .lock_destroy = os_lock_destroy,
    .lock = os_lock,
    .unlock = os_unlock,
    .now = os_now,
    .wait = os_wait,
    .log = os_log,
    .cache_invalidate = os_cache_invalidate,
    .memory_at = os_memory_at,
};

/* ---- For the test ---- */

/*
 * Not from malloc(): the address sanitizer would make notes of all of it each time that it is given
 * out and back, and most hosts need little of it.
 */
static void map_arena(struct fake_os *os)
{
    uintptr_t address;

    os->mapping =
        mmap(NULL, MAPPING_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (os->mapping == MAP_FAILED) {
        broken("there is no memory for a host");
    }
    address = ((uintptr_t)os->mapping + ARENA_ALIGNMENT - 1) & ~(uintptr_t)(ARENA_ALIGNMENT - 1);
    os->arena = (uint8_t *)os->mapping + (address - (uintptr_t)os->mapping);
}

struct fake_os *fake_os_create(const struct fake_os_options *options)
{
    struct fake_os *os = calloc(1, sizeof(*os));

    if (options != NULL) {
        os->options = *options;
    }
    if (os->options.memory_base == 0) {
        os->options.memory_base = FAKE_OS_MEMORY_BASE;
    }
    os->random = os->options.seed;
    os->callbacks = strict_callbacks;
    if (os->options.scattered) {
        os->callbacks.dma_virtual = os_dma_virtual;
    } else {
        map_arena(os);
    }
    os->time = 1000000;
    locks_held = 0;
    pthread_mutex_init(&os->mutex, NULL);
    return os;
}

void fake_os_destroy_with_leaks(struct fake_os *os)
{
    while (os->objects != NULL) {
        struct header *header = os->objects;

        os->objects = header->next;
        free(header);
    }
    for (unsigned int i = 0; i < MAX_JOINS; i++) {
        if (os->joins[i].memory != NULL) {
            os_dma_split(os, os->joins[i].memory, os->joins[i].size);
        }
    }
    for (uint64_t i = 0; i < PAGES; i++) {
        if (os->page_owner[i] != NULL) {
            give_piece(os, os->page_owner[i]);
        }
    }
    pthread_mutex_destroy(&os->mutex);
    free(os->pending);
    if (os->mapping != NULL) {
        munmap(os->mapping, MAPPING_SIZE);
    }
    free(os);
}

void fake_os_destroy(struct fake_os *os)
{
    if (os->bytes != 0) {
        broken("%llu bytes were not given back", (unsigned long long)os->bytes);
    }
    if (os->locks != 0) {
        broken("%u locks were not destroyed", os->locks);
    }
    for (unsigned int i = 0; i < MAX_WINDOWS; i++) {
        if (os->windows[i].used) {
            broken("an MMIO window was not unmapped");
        }
    }
    for (unsigned int i = 0; i < MAX_JOINS; i++) {
        if (os->joins[i].memory != NULL) {
            broken("pieces that were joined were not split");
        }
    }
    fake_os_destroy_with_leaks(os);
}

struct piommu_host fake_os_host(struct fake_os *os)
{
    return (struct piommu_host){.os = &os->callbacks, .ctx = os};
}

struct piommu_os *fake_os_callbacks(struct fake_os *os)
{
    return &os->callbacks;
}

void fake_os_connect(struct fake_os *os, const struct fake_os_device *device)
{
    os->device = *device;
    os->has_device = true;
    os->has_bus = false;
}

void fake_os_connect_bus(struct fake_os *os, const struct fake_os_bus *bus)
{
    os->bus = *bus;
    os->has_bus = true;
    os->has_device = false;
}

void fake_os_forbid(struct fake_os *os, unsigned int what)
{
    os->forbidden = what;
}

void fake_os_fail_call(struct fake_os *os, uint64_t nth, bool forever)
{
    os->fail_in = nth;
    os->fail_forever = forever;
}

void fake_os_set_cpu(struct fake_os *os, unsigned int number)
{
    os->cpu = number;
    os->callbacks.cpu = os_cpu;
}

void fake_os_limit_pieces(struct fake_os *os, uint64_t bytes, bool can_join)
{
    os->piece_limit = bytes;
    os->callbacks.dma_join = can_join ? os_dma_join : NULL;
    os->callbacks.dma_split = can_join ? os_dma_split : NULL;
}

void fake_os_on_wait(struct fake_os *os, void (*callback)(void *ctx), void *ctx)
{
    os->on_wait = callback;
    os->on_wait_ctx = ctx;
}

void fake_os_on_dma_free(struct fake_os *os,
                         void (*callback)(void *ctx, uint64_t physical, uint64_t size), void *ctx)
{
    os->on_dma_free = callback;
    os->on_dma_free_ctx = ctx;
}

uint64_t fake_os_bytes_outstanding(struct fake_os *os)
{
    return os->bytes;
}

void fake_os_get_counters(struct fake_os *os, struct fake_os_counters *counters)
{
    *counters = os->counters;
}

const char *fake_os_last_log(struct fake_os *os)
{
    return os->last_log;
}

uint64_t fake_os_time(struct fake_os *os)
{
    return os->time;
}

void fake_os_pass(struct fake_os *os, uint64_t nanoseconds)
{
    os->time += nanoseconds;
}

void fake_os_freeze_clock(struct fake_os *os)
{
    os->frozen = true;
}

uint64_t fake_os_test_pages(struct fake_os *os, size_t count)
{
    struct piece *piece = take_piece(os, count * FAKE_OS_PAGE_SIZE, FAKE_OS_PAGE_SIZE);

    piece->test_data = true;
    split_views(os, piece, PIOMMU_DMA_BUFFER);
    return piece->physical;
}

void *fake_os_pointer(struct fake_os *os, uint64_t physical, uint64_t size)
{
    struct piece *piece = piece_of(os, physical);

    if (piece == NULL ||
        physical - piece->physical + size > piece->pages * FAKE_OS_PAGE_SIZE - piece->offset) {
        return NULL;
    }
    return piece->memory + (physical - piece->physical);
}

bool fake_os_is_dma_memory(struct fake_os *os, uint64_t physical, uint64_t size)
{
    struct piece *piece = piece_of(os, physical);

    return piece != NULL && !piece->test_data && physical - piece->physical + size <= piece->size;
}

/* What the device sees at an address; NULL: not all of it is memory in use. */
static uint8_t *device_view(struct fake_os *os, uint64_t physical, uint64_t size)
{
    const struct piece *piece = piece_of(os, physical);

    if (piece == NULL || fake_os_pointer(os, physical, size) == NULL) {
        return NULL;
    }
    return behind_cache(piece) + (physical - piece->physical);
}

bool fake_os_device_read64(void *ctx, uint64_t physical, uint64_t *value)
{
    struct fake_os *os = ctx;
    const struct piece *piece = piece_of(os, physical);

    if (piece == NULL || physical - piece->physical + 8 > piece->size) {
        return false;
    }
    *value = little_endian_word(behind_cache(piece) + (physical - piece->physical));
    return true;
}

bool fake_os_device_read(void *ctx, uint64_t physical, void *buffer, size_t size)
{
    const void *memory = device_view(ctx, physical, size);

    if (memory != NULL) {
        memcpy(buffer, memory, size);
    }
    return memory != NULL;
}

bool fake_os_device_write(void *ctx, uint64_t physical, const void *buffer, size_t size)
{
    uint8_t *memory = device_view(ctx, physical, size);
    const struct piece *piece = piece_of(ctx, physical);

    if (memory == NULL) {
        return false;
    }
    memcpy(memory, buffer, size);
    if (piece->written != NULL && size > 0) {
        uint64_t offset = physical - piece->physical;

        for (uint64_t line = offset / FAKE_OS_CACHE_LINE;
             line <= (offset + size - 1) / FAKE_OS_CACHE_LINE; line++) {
            piece->written[line] = true;
        }
    }
    return true;
}

void fake_os_device_stopped(struct fake_os *os)
{
    for (uint64_t i = 0; i < PAGES; i++) {
        const struct piece *piece = os->page_owner[i];

        if (piece != NULL && piece->written != NULL) {
            memset(piece->written, 0,
                   piece->pages * (FAKE_OS_PAGE_SIZE / FAKE_OS_CACHE_LINE) * sizeof(bool));
        }
    }
}

/*
 * Asked for by the thread sanitizer. A device reads and writes memory beside all threads: that is
 * no race in the program. Races among the program's own accesses are still found.
 */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:fake_os_device_read\nrace:fake_os_device_write\n";
}
