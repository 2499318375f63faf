/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "threaded_host.h"

#include "little_endian.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE             8192u /* two tables side by side */
#define PAGES_PER_THREAD 1200u
#define PAGES            (THREADED_THREADS * PAGES_PER_THREAD)
#define PATTERN_FRESH    0xa5
#define PATTERN_FREED    0xdd
#define MAGIC            0x74687265616473ull
#define MAX_LOG_LENGTH   159u

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_THREAD_SANITIZER
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define HAS_THREAD_SANITIZER
#endif

/* In front of each object. */
struct header {
    uint64_t magic;
    uint64_t size;
};

struct lock {
    pthread_mutex_t mutex;
    bool held;
};

/* Free pages of a thread, in a ring, so that they come back late. */
struct share {
    uint32_t *pages;
    size_t first;
    size_t count;
};

struct threaded_host {
    struct piommu_os callbacks;
    uint8_t *arena;
    uint64_t arena_physical;
    atomic_uint sizes[PAGES]; /* bytes asked for; 0: free */
    struct share shares[THREADED_THREADS];
    atomic_size_t bytes;
    atomic_uint locks;
    void (*on_dma_free)(void *ctx, uint64_t physical, uint64_t size);
    void *on_dma_free_ctx;
};

static _Thread_local unsigned int this_thread = THREADED_MAIN;
static _Thread_local unsigned int locks_held;
static _Thread_local unsigned int unseen;

void threaded_become(unsigned int number)
{
    CHECK(number < THREADED_THREADS);
    this_thread = number;
}

unsigned int threaded_self(void)
{
    return this_thread;
}

#ifdef HAS_THREAD_SANITIZER
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
void AnnotateIgnoreSyncBegin(const char *file, int line);
void AnnotateIgnoreSyncEnd(const char *file, int line);

static void look_away(void)
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
}

static void look_again(void)
{
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
static void look_away(void)
{
}

static void look_again(void)
{
}
#endif

void threaded_unseen_begin(void)
{
    if (unseen++ == 0) {
        look_away();
    }
}

void threaded_unseen_end(void)
{
    CHECK(unseen != 0);
    if (--unseen == 0) {
        look_again();
    }
}

unsigned int threaded_look(atomic_uint *value)
{
    unsigned int result;

    threaded_unseen_begin();
    result = atomic_load(value);
    threaded_unseen_end();
    return result;
}

void threaded_set(atomic_uint *value, unsigned int to)
{
    threaded_unseen_begin();
    atomic_store(value, to);
    threaded_unseen_end();
}

void threaded_add(atomic_uint *value, unsigned int count)
{
    threaded_unseen_begin();
    atomic_fetch_add(value, count);
    threaded_unseen_end();
}

/* ---- Objects ---- */

static void *shim_alloc(void *ctx, size_t size)
{
    struct threaded_host *h = ctx;
    struct header *header;

    CHECK(locks_held == 0 && size != 0);
    header = malloc(sizeof(*header) + size);
    CHECK(header != NULL);
    header->magic = MAGIC;
    header->size = size;
    memset(header + 1, PATTERN_FRESH, size);
    atomic_fetch_add_explicit(&h->bytes, size, memory_order_relaxed);
    return header + 1;
}

static void shim_free(void *ctx, void *memory, size_t size)
{
    struct threaded_host *h = ctx;
    struct header *header = (struct header *)memory - 1;

    CHECK(locks_held == 0 && memory != NULL);
    CHECK(header->magic == MAGIC && header->size == size);
    memset(header, PATTERN_FREED, sizeof(*header) + size);
    free(header);
    atomic_fetch_sub_explicit(&h->bytes, size, memory_order_relaxed);
}

/* ---- Tables: the physical address is the virtual one, unless the test has said another ---- */

static bool page_of(const struct threaded_host *h, uint64_t physical, uint32_t *page)
{
    if (physical < h->arena_physical || (physical - h->arena_physical) / PAGE >= PAGES) {
        return false;
    }
    *page = (uint32_t)((physical - h->arena_physical) / PAGE);
    return true;
}

static uint64_t physical_of(const struct threaded_host *h, const void *memory)
{
    return h->arena_physical + ((uintptr_t)memory - (uintptr_t)h->arena);
}

static void *shim_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct threaded_host *h = ctx;
    struct share *share = &h->shares[this_thread];
    uint32_t page;
    uint8_t *memory;

    CHECK(locks_held == 0 && request->purpose == PIOMMU_DMA_TABLE);
    CHECK(request->size != 0 && request->size <= PAGE && request->alignment <= PAGE);
    CHECK(share->count != 0);
    page = share->pages[share->first];
    share->first = (share->first + 1) % PAGES;
    share->count--;
    memory = h->arena + (size_t)page * PAGE;
    *physical = physical_of(h, memory);
    CHECK(*physical + (request->size - 1) <= request->max_physical);
    memset(memory, PATTERN_FRESH, PAGE);
    CHECK(atomic_exchange_explicit(&h->sizes[page], (unsigned int)request->size,
                                   memory_order_relaxed) == 0);
    atomic_fetch_add_explicit(&h->bytes, request->size, memory_order_relaxed);
    return memory;
}

static void shim_dma_free(void *ctx, void *memory, size_t size)
{
    struct threaded_host *h = ctx;
    struct share *share = &h->shares[this_thread];
    uint32_t page = 0;

    CHECK(locks_held == 0 && (uintptr_t)memory % PAGE == 0);
    CHECK(page_of(h, physical_of(h, memory), &page));
    if (h->on_dma_free != NULL) {
        h->on_dma_free(h->on_dma_free_ctx, physical_of(h, memory), size);
    }
    CHECK(atomic_exchange_explicit(&h->sizes[page], 0, memory_order_relaxed) == size);
    memset(memory, PATTERN_FREED, PAGE);
    share->pages[(share->first + share->count++) % PAGES] = page;
    atomic_fetch_sub_explicit(&h->bytes, size, memory_order_relaxed);
}

static uint64_t load_word(const uint8_t *place)
{
    uint8_t bytes[8];
#if ATOMIC_LLONG_LOCK_FREE == 2
    uint64_t whole = __atomic_load_n((const uint64_t *)(const void *)place, __ATOMIC_RELAXED);

    memcpy(bytes, &whole, sizeof(bytes));
#else
    memcpy(bytes, place, sizeof(bytes));
#endif
    return little_endian_word(bytes);
}

bool threaded_host_read64(void *ctx, uint64_t physical, uint64_t *value)
{
    struct threaded_host *h = ctx;
    uint32_t page = 0;

    if (!page_of(h, physical, &page) ||
        physical % PAGE + 8 > atomic_load_explicit(&h->sizes[page], memory_order_relaxed)) {
        return false;
    }
    threaded_unseen_begin();
    *value = load_word(h->arena + (physical - h->arena_physical));
    threaded_unseen_end();
    return true;
}

static void shim_barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
    threaded_unseen_begin();
    atomic_thread_fence(memory_order_seq_cst);
    threaded_unseen_end();
}

/* ---- Locks, time, log ---- */

static void *shim_lock_create(void *ctx)
{
    struct threaded_host *h = ctx;
    struct lock *lock;

    CHECK(locks_held == 0);
    lock = calloc(1, sizeof(*lock));
    CHECK(lock != NULL);
    pthread_mutex_init(&lock->mutex, NULL);
    atomic_fetch_add_explicit(&h->locks, 1, memory_order_relaxed);
    return lock;
}

static void shim_lock_destroy(void *ctx, void *pointer)
{
    struct threaded_host *h = ctx;
    struct lock *lock = pointer;

    CHECK(locks_held == 0 && !lock->held);
    pthread_mutex_destroy(&lock->mutex);
    free(lock);
    atomic_fetch_sub_explicit(&h->locks, 1, memory_order_relaxed);
}

static unsigned long shim_lock(void *ctx, void *pointer)
{
    struct lock *lock = pointer;

    (void)ctx;
    CHECK(locks_held == 0);
    pthread_mutex_lock(&lock->mutex);
    lock->held = true;
    locks_held++;
    return (unsigned long)((uintptr_t)lock ^ 0x5au);
}

static void shim_unlock(void *ctx, void *pointer, unsigned long state)
{
    struct lock *lock = pointer;

    (void)ctx;
    CHECK(locks_held == 1 && lock->held);
    CHECK(state == (unsigned long)((uintptr_t)lock ^ 0x5au));
    locks_held--;
    lock->held = false;
    pthread_mutex_unlock(&lock->mutex);
}

static uint64_t shim_now(void *ctx)
{
    struct timespec now;

    (void)ctx;
    CHECK(locks_held == 0);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void shim_wait(void *ctx, uint64_t deadline)
{
    (void)ctx;
    (void)deadline;
    CHECK(locks_held == 0);
    sched_yield();
}

static void shim_log(void *ctx, enum piommu_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    CHECK(locks_held == 0);
    CHECK(strlen(line) <= MAX_LOG_LENGTH && strchr(line, '\n') == NULL);
}

static const struct piommu_os threaded_callbacks = {
    .size = sizeof(struct piommu_os),
    .alloc = shim_alloc,
    .free = shim_free,
    .dma_alloc = shim_dma_alloc,
    .dma_free = shim_dma_free,
    .barrier = shim_barrier,
    .lock_create = shim_lock_create,
    .lock_destroy = shim_lock_destroy,
    .lock = shim_lock,
    .unlock = shim_unlock,
    .now = shim_now,
    .wait = shim_wait,
    .log = shim_log,
};

/* ---- For the test ---- */

struct threaded_host *threaded_host_create(void)
{
    struct threaded_host *h = calloc(1, sizeof(*h));
    uint32_t next = 0;

    CHECK(h != NULL);
    h->callbacks = threaded_callbacks;
    h->arena = aligned_alloc(PAGE, (size_t)PAGES * PAGE);
    CHECK(h->arena != NULL);
    h->arena_physical = (uintptr_t)h->arena;
    for (unsigned int i = 0; i < THREADED_THREADS; i++) {
        struct share *share = &h->shares[i];

        share->pages = calloc(PAGES, sizeof(*share->pages));
        CHECK(share->pages != NULL);
        while (share->count < PAGES_PER_THREAD) {
            share->pages[share->count++] = next++;
        }
    }
    threaded_become(THREADED_MAIN);
    return h;
}

void threaded_host_destroy(struct threaded_host *h)
{
    CHECK(atomic_load(&h->bytes) == 0);
    CHECK(atomic_load(&h->locks) == 0);
    for (unsigned int i = 0; i < THREADED_THREADS; i++) {
        free(h->shares[i].pages);
    }
    free(h->arena);
    free(h);
}

struct piommu_host threaded_host_shim(struct threaded_host *h)
{
    return (struct piommu_host){.os = &h->callbacks, .ctx = h};
}

struct piommu_os *threaded_host_callbacks(struct threaded_host *h)
{
    return &h->callbacks;
}

void threaded_host_place_memory(struct threaded_host *h, uint64_t physical)
{
    h->arena_physical = physical;
}

void threaded_host_on_dma_free(struct threaded_host *h,
                               void (*callback)(void *ctx, uint64_t physical, uint64_t size),
                               void *ctx)
{
    h->on_dma_free = callback;
    h->on_dma_free_ctx = ctx;
}
