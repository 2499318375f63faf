/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "piommu_freertos.h"

#include <piommu/error.h>
#include <stdatomic.h>

#if INCLUDE_vTaskDelay != 1 || INCLUDE_xTaskGetSchedulerState != 1
#error "piommu: set INCLUDE_vTaskDelay and INCLUDE_xTaskGetSchedulerState to 1 in FreeRTOSConfig.h"
#endif

#define NANOSECONDS_PER_TICK (1000000000u / (uint64_t)configTICK_RATE_HZ)

/* ---- Locks ---- */

/*
 * All locks are the kernel's critical section: it masks interrupts on one core, and on several
 * takes the kernel's own spin locks. The library holds one lock at a time, and briefly.
 */
static unsigned long enter(void)
{
    if (PIOMMU_FREERTOS_IN_INTERRUPT()) {
        return (unsigned long)taskENTER_CRITICAL_FROM_ISR();
    }
    taskENTER_CRITICAL();
    return 0;
}

static void leave(unsigned long state)
{
    if (PIOMMU_FREERTOS_IN_INTERRUPT()) {
        taskEXIT_CRITICAL_FROM_ISR((UBaseType_t)state);
    } else {
        taskEXIT_CRITICAL();
    }
}

static void *port_lock_create(void *ctx)
{
    return ctx;
}

static void port_lock_destroy(void *ctx, void *lock)
{
    (void)ctx;
    (void)lock;
}

static unsigned long port_lock(void *ctx, void *lock)
{
    (void)ctx;
    (void)lock;
    return enter();
}

static void port_unlock(void *ctx, void *lock, unsigned long state)
{
    (void)ctx;
    (void)lock;
    leave(state);
}

/* ---- The heap ---- */

/*
 * The heap aligns to portBYTE_ALIGNMENT, which can be less than C asks for. The byte before the
 * object says how far it was moved.
 */
static void *port_alloc(void *ctx, size_t size)
{
    const size_t alignment = _Alignof(max_align_t);
    unsigned char *memory;
    size_t moved;

    (void)ctx;
    if (size > SIZE_MAX - alignment) {
        return NULL;
    }
    memory = pvPortMalloc(size + alignment);
    if (memory == NULL) {
        return NULL;
    }
    moved = alignment - (uintptr_t)memory % alignment;
    memory[moved - 1] = (unsigned char)moved;
    return memory + moved;
}

static void port_free(void *ctx, void *memory, size_t size)
{
    unsigned char *object = memory;

    (void)ctx;
    (void)size;
    vPortFree(object - object[-1]);
}

/* ---- Memory that hardware reads ---- */

static bool is_pool(const struct piommu_freertos_pool *pool)
{
    return pool->memory != NULL && pool->taken != NULL && pool->granules != 0 &&
           (uintptr_t)pool->memory % PIOMMU_FREERTOS_GRANULE == 0 &&
           pool->physical % PIOMMU_FREERTOS_GRANULE == 0;
}

static bool is_suitable(const struct piommu_freertos_pool *pool, size_t granule,
                        const struct piommu_dma_request *request)
{
    size_t offset = granule * PIOMMU_FREERTOS_GRANULE;
    uint64_t physical = pool->physical + offset;

    return ((uintptr_t)pool->memory + offset) % request->alignment == 0 &&
           physical % request->alignment == 0 && physical <= request->max_physical &&
           request->size - 1 <= request->max_physical - physical;
}

static bool is_free(const struct piommu_freertos_pool *pool, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        if (pool->taken[i] != 0) {
            return false;
        }
    }
    return true;
}

static void mark(const struct piommu_freertos_pool *pool, size_t first, size_t count,
                 unsigned char taken)
{
    for (size_t i = first; i < first + count; i++) {
        pool->taken[i] = taken;
    }
}

static size_t granules_of(size_t size)
{
    return size / PIOMMU_FREERTOS_GRANULE + (size % PIOMMU_FREERTOS_GRANULE != 0);
}

/* Takes the lowest granules that fit. With the critical section held. False: there are none. */
static bool take(const struct piommu_freertos_pool *pool, const struct piommu_dma_request *request,
                 size_t *first)
{
    size_t count = granules_of(request->size);

    for (*first = 0; *first < pool->granules && count <= pool->granules - *first; (*first)++) {
        if (is_suitable(pool, *first, request) && is_free(pool, *first, count)) {
            mark(pool, *first, count, 1);
            return true;
        }
    }
    return false;
}

static void *port_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct piommu_freertos *port = ctx;
    bool cached = request->purpose == PIOMMU_DMA_TABLE || request->purpose == PIOMMU_DMA_BUFFER;
    const struct piommu_freertos_pool *pool = cached ? &port->board.cached : &port->board.uncached;
    size_t first;
    unsigned long state = enter();
    bool found = take(pool, request, &first);

    leave(state);
    if (!found) {
        return NULL;
    }
    *physical = pool->physical + first * PIOMMU_FREERTOS_GRANULE;
    return pool->memory + first * PIOMMU_FREERTOS_GRANULE;
}

static bool give(const struct piommu_freertos_pool *pool, const void *memory, size_t size)
{
    uintptr_t offset = (uintptr_t)memory - (uintptr_t)pool->memory;
    size_t first = (size_t)(offset / PIOMMU_FREERTOS_GRANULE);
    unsigned long state;

    if (pool->memory == NULL || (uintptr_t)memory < (uintptr_t)pool->memory ||
        first >= pool->granules) {
        return false;
    }
    state = enter();
    mark(pool, first, granules_of(size), 0);
    leave(state);
    return true;
}

static void port_dma_free(void *ctx, void *memory, size_t size)
{
    struct piommu_freertos *port = ctx;

    if (!give(&port->board.cached, memory, size)) {
        (void)give(&port->board.uncached, memory, size);
    }
}

static void port_cache_clean(void *ctx, const void *address, size_t size)
{
    struct piommu_freertos *port = ctx;

    port->board.cache_clean(port->board.cookie, address, size);
}

static void port_cache_invalidate(void *ctx, const void *address, size_t size)
{
    struct piommu_freertos *port = ctx;

    port->board.cache_invalidate(port->board.cookie, address, size);
}

/* A full barrier is right for each kind. */
static void port_barrier(void *ctx, enum piommu_barrier kind)
{
    struct piommu_freertos *port = ctx;

    (void)kind;
    if (port->board.barrier != NULL) {
        port->board.barrier(port->board.cookie);
        return;
    }
#if defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
    __asm__ volatile("dsb sy" ::: "memory");
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* ---- Registers ---- */

/* Where there is an MMU or MPU, the board has made the registers accessible as device memory. */
static int port_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    (void)ctx;
    if (physical > UINTPTR_MAX || size - 1 > UINTPTR_MAX - physical) {
        return -PIOMMU_ENODEV;
    }
    *base = (uintptr_t)physical;
    return 0;
}

static void port_mmio_unmap(void *ctx, uintptr_t base, uint64_t size)
{
    (void)ctx;
    (void)base;
    (void)size;
}

/* The kernel runs little-endian everywhere, as registers are. */
static uint32_t port_mmio_read(void *ctx, uintptr_t address, unsigned int width)
{
    struct piommu_freertos *port = ctx;

    if (port->board.register_read != NULL) {
        return port->board.register_read(port->board.cookie, address, width);
    }
    switch (width) {
    case 1:
        return *(const volatile uint8_t *)address;
    case 2:
        return *(const volatile uint16_t *)address;
    default:
        return *(const volatile uint32_t *)address;
    }
}

static void port_mmio_write(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    struct piommu_freertos *port = ctx;

    if (port->board.register_write != NULL) {
        port->board.register_write(port->board.cookie, address, width, value);
        return;
    }
    switch (width) {
    case 1:
        *(volatile uint8_t *)address = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)address = (uint16_t)value;
        break;
    default:
        *(volatile uint32_t *)address = value;
        break;
    }
}

/* ---- PCI ---- */

static uint32_t port_pci_read(void *ctx, struct piommu_pci_function function, unsigned int offset,
                              unsigned int width)
{
    struct piommu_freertos *port = ctx;

    return port->board.pci_read(port->board.cookie, function, offset, width);
}

static void port_pci_write(void *ctx, struct piommu_pci_function function, unsigned int offset,
                           unsigned int width, uint32_t value)
{
    struct piommu_freertos *port = ctx;

    port->board.pci_write(port->board.cookie, function, offset, width, value);
}

static int port_pci_bar(void *ctx, struct piommu_pci_function function, unsigned int number,
                        struct piommu_pci_bar *bar)
{
    struct piommu_freertos *port = ctx;

    return port->board.pci_bar(port->board.cookie, function, number, bar);
}

/* ---- Time ---- */

/*
 * The tick count, in 64 bits. The kernel is not to be called in a critical section, so the count is
 * read before it; who comes late with an older one changes nothing.
 */
static uint64_t count_ticks(struct piommu_freertos *port)
{
    TickType_t count =
        PIOMMU_FREERTOS_IN_INTERRUPT() ? xTaskGetTickCountFromISR() : xTaskGetTickCount();
    unsigned long state = enter();
    TickType_t passed = (TickType_t)(count - (TickType_t)port->ticks);
    uint64_t ticks;

    if (passed <= (TickType_t) ~(TickType_t)0 / 2) {
        port->ticks += passed;
    }
    ticks = port->ticks;
    leave(state);
    return ticks;
}

static uint64_t port_now(void *ctx)
{
    struct piommu_freertos *port = ctx;

    if (port->board.nanoseconds != NULL) {
        return port->board.nanoseconds(port->board.cookie);
    }
    return count_ticks(port) * NANOSECONDS_PER_TICK;
}

/*
 * The shortest delay is a tick, and a wait must not go beyond its deadline: what hardware does in
 * microseconds is polled, with a yield between two looks.
 */
static void port_wait(void *ctx, uint64_t deadline)
{
    uint64_t now;

    if (PIOMMU_FREERTOS_IN_INTERRUPT() || xTaskGetSchedulerState() != taskSCHEDULER_RUNNING) {
        return;
    }
    now = port_now(ctx);
    if (deadline > now && deadline - now >= NANOSECONDS_PER_TICK) {
        vTaskDelay(1);
    } else {
        taskYIELD();
    }
}

static void port_log(void *ctx, enum piommu_log_level level, const char *line)
{
    struct piommu_freertos *port = ctx;

    port->board.log(port->board.cookie, level, line);
}

/* ---- The port ---- */

static const struct piommu_os callbacks = {
    .size = sizeof(struct piommu_os),
    .alloc = port_alloc,
    .free = port_free,
    .dma_alloc = port_dma_alloc,
    .dma_free = port_dma_free,
    .barrier = port_barrier,
    .mmio_map = port_mmio_map,
    .mmio_unmap = port_mmio_unmap,
    .mmio_read = port_mmio_read,
    .mmio_write = port_mmio_write,
    .lock_create = port_lock_create,
    .lock_destroy = port_lock_destroy,
    .lock = port_lock,
    .unlock = port_unlock,
    .now = port_now,
    .wait = port_wait,
};

int piommu_freertos_init(struct piommu_freertos *port, const struct piommu_freertos_board *board)
{
    if (!is_pool(&board->cached) ||
        (board->uncached.memory != NULL && !is_pool(&board->uncached)) ||
        (board->register_read == NULL) != (board->register_write == NULL) ||
        (board->pci_read == NULL) != (board->pci_write == NULL) ||
        (board->pci_read == NULL) != (board->pci_bar == NULL)) {
        return -PIOMMU_EINVAL;
    }
    port->os = callbacks;
    port->os.cache_clean = board->cache_clean != NULL ? port_cache_clean : NULL;
    port->os.cache_invalidate = board->cache_invalidate != NULL ? port_cache_invalidate : NULL;
    port->os.pci_config_read = board->pci_read != NULL ? port_pci_read : NULL;
    port->os.pci_config_write = board->pci_write != NULL ? port_pci_write : NULL;
    port->os.pci_bar = board->pci_bar != NULL ? port_pci_bar : NULL;
    port->os.log = board->log != NULL ? port_log : NULL;
    port->board = *board;
    if (board->uncached.memory == NULL) {
        port->board.uncached.granules = 0;
    }
    port->ticks = xTaskGetTickCount();
    return 0;
}

struct piommu_host piommu_freertos_host(struct piommu_freertos *port)
{
    return (struct piommu_host){.os = &port->os, .ctx = port};
}
