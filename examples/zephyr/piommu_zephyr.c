/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "piommu_zephyr.h"

#include <piommu/error.h>

#include <zephyr/cache.h>
#include <zephyr/init.h>
#include <zephyr/irq.h>
#include <zephyr/logging/log.h>
#include <zephyr/sys/barrier.h>
#include <zephyr/sys/device_mmio.h>
#include <zephyr/sys/sys_io.h>
#ifdef CONFIG_PCIE
#include <zephyr/drivers/pcie/pcie.h>
#endif
#if __has_include(<zephyr/version.h>)
#include <zephyr/version.h>
#else
#include <version.h>
#endif

LOG_MODULE_REGISTER(piommu, CONFIG_PIOMMU_LOG_LEVEL);

#define PAGE 4096u
/* Reports that are taken in at a time. */
#define BUDGET 16u

/* ---- Memory ---- */

static void *zephyr_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return k_aligned_alloc(_Alignof(z_max_align_t), size);
}

static void zephyr_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    k_free(memory);
}

/*
 * Memory that hardware reads. Pages come from a slab, which wastes nothing between them; what is
 * larger, or is to be aligned to more, from heaps. All of them can be used in interrupts, and are
 * parts of the image, which is mapped linearly.
 */
static unsigned char pages[CONFIG_PIOMMU_TABLE_PAGES * PAGE] __aligned(PAGE);
static unsigned char large[CONFIG_PIOMMU_LARGE_BYTES] __aligned(PAGE);
static struct k_mem_slab page_slab;
static struct k_heap large_heap;
#ifdef CONFIG_PIOMMU_UNCACHED
static unsigned char uncached[CONFIG_PIOMMU_LARGE_BYTES] __aligned(PAGE) __nocache;
static struct k_heap uncached_heap;
#endif

static int init_memory(void)
{
    k_heap_init(&large_heap, large, sizeof(large));
#ifdef CONFIG_PIOMMU_UNCACHED
    k_heap_init(&uncached_heap, uncached, sizeof(uncached));
#endif
    return k_mem_slab_init(&page_slab, pages, PAGE, CONFIG_PIOMMU_TABLE_PAGES);
}
SYS_INIT(init_memory, PRE_KERNEL_1, 0);

static bool is_in(const void *memory, const unsigned char *all, size_t size)
{
    return (uintptr_t)memory - (uintptr_t)all < size;
}

/* The heap for what does not come from the slab. */
static struct k_heap *heap_for(enum piommu_dma_purpose purpose)
{
#ifdef CONFIG_PIOMMU_UNCACHED
    if (purpose == PIOMMU_DMA_RING || purpose == PIOMMU_DMA_BUFFER_UNCACHED) {
        return &uncached_heap;
    }
#else
    (void)purpose;
#endif
    return &large_heap;
}

static void *take(const struct piommu_dma_request *request)
{
    struct k_heap *heap = heap_for(request->purpose);
    void *memory = NULL;

    if (heap != &large_heap || request->size > PAGE || request->alignment > PAGE) {
        return k_heap_aligned_alloc(heap, request->alignment, request->size, K_NO_WAIT);
    }
    return k_mem_slab_alloc(&page_slab, &memory, K_NO_WAIT) == 0 ? memory : NULL;
}

/* Before Zephyr 3.5 the slab reads the address of the block from a variable. */
static void give_page(void *page)
{
#if ZEPHYR_VERSION_CODE < ZEPHYR_VERSION(3, 5, 0)
    k_mem_slab_free(&page_slab, &page);
#else
    k_mem_slab_free(&page_slab, page);
#endif
}

static void zephyr_dma_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    if (is_in(memory, pages, sizeof(pages))) {
        give_page(memory);
        return;
    }
#ifdef CONFIG_PIOMMU_UNCACHED
    if (is_in(memory, uncached, sizeof(uncached))) {
        k_heap_free(&uncached_heap, memory);
        return;
    }
#endif
    k_heap_free(&large_heap, memory);
}

static uint64_t physical_of(void *memory)
{
#ifndef CONFIG_MMU
    return (uint64_t)(uintptr_t)memory;
#elif ZEPHYR_VERSION_CODE < ZEPHYR_VERSION(3, 7, 0)
    return (uint64_t)z_mem_phys_addr(memory);
#else
    return (uint64_t)k_mem_phys_addr(memory);
#endif
}

static void *zephyr_dma_alloc(void *ctx, const struct piommu_dma_request *request,
                              uint64_t *physical)
{
    void *memory = take(request);

    if (memory == NULL) {
        return NULL;
    }
    *physical = physical_of(memory);
    if (*physical % request->alignment != 0 || *physical > request->max_physical ||
        request->size - 1 > request->max_physical - *physical) {
        zephyr_dma_free(ctx, memory, request->size);
        return NULL;
    }
    return memory;
}

/* Zephyr calls it flushing to write back. It takes no pointer to const, and changes nothing. */
static void zephyr_cache_clean(void *ctx, const void *address, size_t size)
{
    (void)ctx;
    (void)sys_cache_data_flush_range((void *)(uintptr_t)address, size);
}

static void zephyr_cache_invalidate(void *ctx, const void *address, size_t size)
{
    (void)ctx;
    (void)sys_cache_data_invd_range((void *)(uintptr_t)address, size);
}

/* Of Zephyr's barriers this is the one that waits for devices; it is right for each kind. */
static void zephyr_barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
    barrier_dsync_fence_full();
}

/* ---- Registers ---- */

#ifdef CONFIG_MMU
/* The whole pages that registers lie in: a single byte is refused by assertions of Zephyr 3.4. */
static size_t pages_of(uintptr_t address, uint64_t size)
{
    size_t offset = address % CONFIG_MMU_PAGE_SIZE;

    return (offset + (size_t)size + CONFIG_MMU_PAGE_SIZE - 1) & ~(size_t)(CONFIG_MMU_PAGE_SIZE - 1);
}
#endif

/* Where nothing has to be mapped, device_map is not always there. */
static int zephyr_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    uintptr_t address = (uintptr_t)physical;

    (void)ctx;
    if (physical > UINTPTR_MAX || size - 1 > UINTPTR_MAX - physical) {
        return -PIOMMU_ENODEV;
    }
#ifdef CONFIG_MMU
    device_map(base, address - address % CONFIG_MMU_PAGE_SIZE, pages_of(address, size),
               K_MEM_CACHE_NONE);
    *base += address % CONFIG_MMU_PAGE_SIZE;
#else
    *base = address;
#endif
    return 0;
}

static void zephyr_mmio_unmap(void *ctx, uintptr_t base, uint64_t size)
{
    (void)ctx;
#ifndef CONFIG_MMU
    (void)base;
    (void)size;
#elif ZEPHYR_VERSION_CODE < ZEPHYR_VERSION(3, 7, 0)
    z_phys_unmap((uint8_t *)(base - base % CONFIG_MMU_PAGE_SIZE), pages_of(base, size));
#else
    k_mem_unmap_phys_bare((uint8_t *)(base - base % CONFIG_MMU_PAGE_SIZE), pages_of(base, size));
#endif
}

static uint32_t zephyr_mmio_read(void *ctx, uintptr_t address, unsigned int width)
{
    (void)ctx;
    switch (width) {
    case 1:
        return sys_read8(address);
    case 2:
        return sys_read16(address);
    default:
        return sys_read32(address);
    }
}

static void zephyr_mmio_write(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    (void)ctx;
    switch (width) {
    case 1:
        sys_write8((uint8_t)value, address);
        break;
    case 2:
        sys_write16((uint16_t)value, address);
        break;
    default:
        sys_write32(value, address);
        break;
    }
}

/* ---- PCI ---- */

#ifdef CONFIG_PCIE
/* Configuration space is read and written in words of 32 bits, which have numbers. */
#define STATUS_WORD 1u /* command below, status above */

static pcie_bdf_t bdf_of(struct piommu_pci_function function)
{
    return PCIE_BDF(function.bdf >> 8, function.bdf >> 3 & 0x1fu, function.bdf & 7u);
}

static uint32_t mask_of(unsigned int width)
{
    return width < 4 ? (UINT32_C(1) << 8 * width) - 1 : UINT32_MAX;
}

static uint32_t zephyr_pci_read(void *ctx, struct piommu_pci_function function, unsigned int offset,
                                unsigned int width)
{
    (void)ctx;
    return pcie_conf_read(bdf_of(function), offset / 4) >> 8 * (offset % 4) & mask_of(width);
}

/* A one that is written into the status clears a bit there, so it is kept out of it. */
static void zephyr_pci_write(void *ctx, struct piommu_pci_function function, unsigned int offset,
                             unsigned int width, uint32_t value)
{
    pcie_bdf_t bdf = bdf_of(function);
    uint32_t mask = mask_of(width) << 8 * (offset % 4);
    uint32_t kept = width < 4 ? pcie_conf_read(bdf, offset / 4) & ~mask : 0;

    (void)ctx;
    if (offset / 4 == STATUS_WORD) {
        kept &= 0xffffu;
    }
    pcie_conf_write(bdf, offset / 4, kept | (value << 8 * (offset % 4) & mask));
}

/*
 * Whether a BAR of memory begins there: with a controller pcie_get_mbar answers also for BARs of
 * ports, and always for the upper half of one of 64 bits.
 */
static bool is_memory_bar(pcie_bdf_t bdf, unsigned int number)
{
    unsigned int first = 0;
    uint32_t word = pcie_conf_read(bdf, PCIE_CONF_BAR0);

    while (first < number) {
        first += PCIE_CONF_BAR_MEM(word) && PCIE_CONF_BAR_64(word) ? 2 : 1;
        word = first <= number ? pcie_conf_read(bdf, PCIE_CONF_BAR0 + first) : 0;
    }
    return first == number && PCIE_CONF_BAR_MEM(word);
}

/* 0 for what is no BAR of memory, or has no address. */
static int zephyr_pci_bar(void *ctx, struct piommu_pci_function function, unsigned int number,
                          struct piommu_pci_bar *bar)
{
    pcie_bdf_t bdf = bdf_of(function);
    struct pcie_bar found = {.phys_addr = 0};

    (void)ctx;
    if (!is_memory_bar(bdf, number) || !pcie_get_mbar(bdf, number, &found)) {
        found.size = 0;
    }
    *bar = (struct piommu_pci_bar){.physical = found.phys_addr, .size = found.size};
    return 0;
}
#endif

/* ---- Locks ---- */

/* On one CPU a k_spinlock can be of no size, and nothing can be had from a heap in no bytes. */
struct zephyr_lock {
    struct k_spinlock lock;
    char filling;
};

static void *zephyr_lock_create(void *ctx)
{
    struct zephyr_lock *lock = zephyr_alloc(ctx, sizeof(*lock));

    if (lock != NULL) {
        *lock = (struct zephyr_lock){.filling = 0};
    }
    return lock;
}

static void zephyr_lock_destroy(void *ctx, void *lock)
{
    (void)ctx;
    k_free(lock);
}

static unsigned long zephyr_lock_take(void *ctx, void *lock)
{
    struct zephyr_lock *taken = lock;

    (void)ctx;
    return (unsigned int)k_spin_lock(&taken->lock).key;
}

static void zephyr_lock_release(void *ctx, void *lock, unsigned long state)
{
    struct zephyr_lock *taken = lock;

    (void)ctx;
    k_spin_unlock(&taken->lock, (k_spinlock_key_t){.key = (int)(unsigned int)state});
}

/* ---- Time, log ---- */

/* The uptime counts on while interrupts are locked: the kernel adds what its timer has counted. */
static uint64_t zephyr_now(void *ctx)
{
    (void)ctx;
    return k_ticks_to_ns_floor64((uint64_t)k_uptime_ticks());
}

/* A sleep of a tick takes up to two; what hardware does in microseconds is polled. */
static void zephyr_wait(void *ctx, uint64_t deadline)
{
    uint64_t now;

    if (k_is_in_isr() || k_is_pre_kernel()) {
        return;
    }
    now = zephyr_now(ctx);
    if (deadline > now && deadline - now >= k_ticks_to_ns_floor64(2)) {
        (void)k_sleep(K_TICKS(1));
    } else {
        k_yield();
    }
}

static void zephyr_log(void *ctx, enum piommu_log_level level, const char *line)
{
    (void)ctx;
    switch (level) {
    case PIOMMU_LOG_ERROR:
        LOG_ERR("%s", line);
        break;
    case PIOMMU_LOG_WARNING:
        LOG_WRN("%s", line);
        break;
    default:
        LOG_INF("%s", line);
        break;
    }
}

/* ---- The port ---- */

static const struct piommu_os callbacks = {
    .size = sizeof(struct piommu_os),
    .alloc = zephyr_alloc,
    .free = zephyr_free,
    .dma_alloc = zephyr_dma_alloc,
    .dma_free = zephyr_dma_free,
    .cache_clean = zephyr_cache_clean,
    .barrier = zephyr_barrier,
    .mmio_map = zephyr_mmio_map,
    .mmio_unmap = zephyr_mmio_unmap,
    .mmio_read = zephyr_mmio_read,
    .mmio_write = zephyr_mmio_write,
#ifdef CONFIG_PCIE
    .pci_config_read = zephyr_pci_read,
    .pci_config_write = zephyr_pci_write,
    .pci_bar = zephyr_pci_bar,
#endif
    .lock_create = zephyr_lock_create,
    .lock_destroy = zephyr_lock_destroy,
    .lock = zephyr_lock_take,
    .unlock = zephyr_lock_release,
    .now = zephyr_now,
    .wait = zephyr_wait,
    .log = zephyr_log,
    .cache_invalidate = zephyr_cache_invalidate,
};

struct piommu_host piommu_zephyr_host(void)
{
    return (struct piommu_host){.os = &callbacks, .ctx = NULL};
}

/* ---- Interrupts ---- */

static bool is_stopped(struct piommu_zephyr_unit *unit)
{
    return atomic_get(&unit->stopped) != 0;
}

static void service(struct k_work *work)
{
    struct piommu_zephyr_unit *unit = CONTAINER_OF(work, struct piommu_zephyr_unit, work);

    if (is_stopped(unit)) {
        return;
    }
    (void)k_mutex_lock(unit->calls, K_FOREVER);
    (void)piommu_instance_service(unit->instance, BUDGET);
    (void)k_mutex_unlock(unit->calls);
    irq_enable(unit->irq);
}

void piommu_zephyr_unit_init(struct piommu_zephyr_unit *unit, struct piommu_instance *instance,
                             unsigned int irq, struct k_mutex *calls)
{
    unit->instance = instance;
    unit->calls = calls;
    unit->irq = irq;
    (void)atomic_set(&unit->stopped, 0);
    (void)atomic_set(&unit->handlers, 0);
    k_work_init(&unit->work, service);
}

/* The line can still be up if something is left; if there is more than BUDGET, it comes again. */
void piommu_zephyr_isr(const void *parameter)
{
    struct piommu_zephyr_unit *unit = (struct piommu_zephyr_unit *)(uintptr_t)parameter;
    bool more = false;

    (void)atomic_inc(&unit->handlers);
    if (!is_stopped(unit)) {
        (void)piommu_instance_interrupt(unit->instance, BUDGET, &more);
    }
    /* A line that nobody releases any more is not to come again and again. */
    if (more || is_stopped(unit)) {
        irq_disable(unit->irq);
    }
    if (more) {
        (void)k_work_submit(&unit->work);
    }
    (void)atomic_dec(&unit->handlers);
}

/* Work that runs already may enable the interrupt once more, so it is disabled at the end. */
void piommu_zephyr_unit_stop(struct piommu_zephyr_unit *unit)
{
    struct k_work_sync sync;

    (void)atomic_set(&unit->stopped, 1);
    irq_disable(unit->irq);
    while (atomic_get(&unit->handlers) != 0) {
        k_yield();
    }
    (void)k_work_cancel_sync(&unit->work, &sync);
    irq_disable(unit->irq);
}
