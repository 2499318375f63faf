/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The shim on Xen for 64-bit Arm, where the heap is mapped linearly. */

#include "piommu-xen.h"

/* ---- Memory ---- */

static void *xen_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return xmalloc_bytes(size);
}

static void xen_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    xfree(memory);
}

/* How many bits an address may have so that none is above. 0 to Xen: all. */
static unsigned int flags_for(uint64_t max_physical)
{
    unsigned int bits = 0;

    while (bits < 64 && max_physical >> bits > 1) {
        bits++;
    }
    /* All ones up to this bit, or only what is below it. */
    bits += max_physical >> bits == 1 && (max_physical & (max_physical + 1)) == 0;
    return bits >= PADDR_BITS ? 0 : MEMF_bits(bits);
}

/*
 * Only tables: the IPMMU has no rings. The heap aligns to the size that is asked for, rounded up to
 * a power of two of pages.
 */
static void *xen_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    unsigned int order = get_order_from_bytes(request->size);
    void *memory;

    (void)ctx;
    if (request->purpose != PIOMMU_DMA_TABLE || request->alignment > (PAGE_SIZE << order)) {
        return NULL;
    }
    memory = alloc_xenheap_pages(order, flags_for(request->max_physical));
    if (memory != NULL) {
        *physical = virt_to_maddr(memory);
    }
    return memory;
}

static void xen_dma_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    free_xenheap_pages(memory, get_order_from_bytes(size));
}

static void xen_cache_clean(void *ctx, const void *address, size_t size)
{
    (void)ctx;
    clean_dcache_va_range(address, size);
}

static void xen_barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    switch (kind) {
    case PIOMMU_BARRIER_WRITE:
        wmb();
        break;
    case PIOMMU_BARRIER_READ:
        rmb();
        break;
    default:
        mb();
        break;
    }
}

/* ---- Registers ---- */

static int xen_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    void *registers = ioremap_nocache(physical, size);

    (void)ctx;
    *base = (uintptr_t)registers;
    return registers != NULL ? 0 : -PIOMMU_ENOMEM;
}

static void xen_mmio_unmap(void *ctx, uintptr_t base, uint64_t size)
{
    (void)ctx;
    (void)size;
    iounmap((void *)base);
}

/* All registers of an IPMMU have 32 bits. */
static uint32_t xen_mmio_read(void *ctx, uintptr_t address, unsigned int width)
{
    (void)ctx;
    (void)width;
    return readl((void *)address);
}

static void xen_mmio_write(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    (void)ctx;
    (void)width;
    writel(value, (void *)address);
}

/* ---- Locks, time, log ---- */

/* Reports are taken in by an interrupt, so each lock masks them. */
static void *xen_lock_create(void *ctx)
{
    spinlock_t *lock = xmalloc_bytes(sizeof(*lock));

    (void)ctx;
    if (lock != NULL) {
        spin_lock_init(lock);
    }
    return lock;
}

static void xen_lock_destroy(void *ctx, void *lock)
{
    (void)ctx;
    xfree(lock);
}

static unsigned long xen_lock(void *ctx, void *lock)
{
    unsigned long flags;

    (void)ctx;
    spin_lock_irqsave((spinlock_t *)lock, flags);
    return flags;
}

static void xen_unlock(void *ctx, void *lock, unsigned long state)
{
    (void)ctx;
    spin_unlock_irqrestore((spinlock_t *)lock, state);
}

static uint64_t xen_now(void *ctx)
{
    (void)ctx;
    return (uint64_t)NOW();
}

/* Nobody in Xen can sleep here: callers hold spin locks. */
static void xen_wait(void *ctx, uint64_t deadline)
{
    (void)ctx;
    (void)deadline;
    cpu_relax();
}

static void xen_log(void *ctx, enum piommu_log_level level, const char *line)
{
    (void)ctx;
    switch (level) {
    case PIOMMU_LOG_ERROR:
        printk(XENLOG_ERR "piommu: %s\n", line);
        break;
    case PIOMMU_LOG_WARNING:
        printk(XENLOG_WARNING "piommu: %s\n", line);
        break;
    default:
        printk(XENLOG_INFO "piommu: %s\n", line);
        break;
    }
}

static unsigned int xen_cpu(void *ctx)
{
    (void)ctx;
    return smp_processor_id();
}

static const struct piommu_os callbacks = {
    .size = sizeof(struct piommu_os),
    .alloc = xen_alloc,
    .free = xen_free,
    .dma_alloc = xen_dma_alloc,
    .dma_free = xen_dma_free,
    .cache_clean = xen_cache_clean,
    .barrier = xen_barrier,
    .mmio_map = xen_mmio_map,
    .mmio_unmap = xen_mmio_unmap,
    .mmio_read = xen_mmio_read,
    .mmio_write = xen_mmio_write,
    .lock_create = xen_lock_create,
    .lock_destroy = xen_lock_destroy,
    .lock = xen_lock,
    .unlock = xen_unlock,
    .now = xen_now,
    .wait = xen_wait,
    .log = xen_log,
    .cpu = xen_cpu,
};

struct piommu_host piommu_xen_host(void)
{
    return (struct piommu_host){.os = &callbacks, .ctx = NULL};
}

/* Up to 1000 the library's constants are Xen's; beyond, there is no such errno. */
int piommu_xen_error(int error)
{
    switch (error) {
    case -PIOMMU_EWAITING:
    case -PIOMMU_EGROUP:
        return -EBUSY;
    case -PIOMMU_EMIXED:
        return -EXDEV;
    case -PIOMMU_ERESERVED:
        return -EPERM;
    case -PIOMMU_EFAILED:
    case -PIOMMU_EBLOCKED:
        return -EIO;
    case -PIOMMU_ECUT:
    case -PIOMMU_EHOLE:
        return -EINVAL;
    default:
        return error;
    }
}
