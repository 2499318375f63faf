/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "zephyr_host.h"

#include "expect.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIGURATION_WORDS 64u
#define LOG_SIZE            200u
/* What a mask of interrupts looks like: anything that the caller cannot guess. */
#define KEY (-77)

static struct {
    struct piommu_ipmmu_model *model;
    bool interrupt;
    bool pre_kernel;
    bool locked; /* some spin lock */
    bool mutex;  /* some mutex */
    bool irq_disabled;
    int64_t ticks;
    size_t objects;
    unsigned int fail_allocation;
    bool exhausted;
    size_t blocks; /* of slabs and heaps */
    unsigned int maps;
    size_t mapped; /* bytes of them */
    struct k_work *work;
    void (*unlocked)(void *ctx);
    void *unlocked_ctx;
    void (*cancelling)(void *ctx);
    void *cancelling_ctx;
    pcie_bdf_t bdf;
    uint32_t configuration[CONFIGURATION_WORDS];
    char log[LOG_SIZE];
    struct zephyr_host_counters counters;
} host;

/* Something in the image, from which addresses are counted. */
static char anchor;

/* What sleeps. */
#define EXPECT_MAY_SLEEP()        \
    do {                          \
        EXPECT(!host.interrupt);  \
        EXPECT(!host.pre_kernel); \
        EXPECT(!host.locked);     \
    } while (0)

/* ---- For tests ---- */

void zephyr_host_start(struct piommu_ipmmu_model *model)
{
    memset(&host, 0, sizeof(host));
    host.model = model;
}

void zephyr_host_assert_idle(void)
{
    EXPECT_MAY_SLEEP();
    EXPECT(!host.mutex);
    EXPECT(host.objects == 0);
    EXPECT(host.blocks == 0);
    EXPECT(host.maps == 0 && host.mapped == 0);
    EXPECT(host.work == NULL);
    EXPECT(!host.irq_disabled);
}

struct zephyr_host_counters zephyr_host_counters(void)
{
    return host.counters;
}

void zephyr_host_enter_interrupt(void)
{
    EXPECT(!host.interrupt && !host.locked && !host.irq_disabled);
    host.interrupt = true;
}

void zephyr_host_leave_interrupt(void)
{
    EXPECT(host.interrupt && !host.locked);
    host.interrupt = false;
}

void zephyr_host_set_pre_kernel(bool pre_kernel)
{
    host.pre_kernel = pre_kernel;
}

void zephyr_host_on_unlock(void (*callback)(void *ctx), void *ctx)
{
    host.unlocked = callback;
    host.unlocked_ctx = ctx;
}

void zephyr_host_on_cancel(void (*callback)(void *ctx), void *ctx)
{
    host.cancelling = callback;
    host.cancelling_ctx = ctx;
}

bool zephyr_host_run_work(void)
{
    struct k_work *work = host.work;

    EXPECT_MAY_SLEEP();
    host.work = NULL;
    if (work == NULL) {
        return false;
    }
    work->handler(work);
    return true;
}

bool zephyr_host_irq_enabled(void)
{
    return !host.irq_disabled;
}

void zephyr_host_fail_allocation(unsigned int kth)
{
    host.fail_allocation = kth;
}

void zephyr_host_exhaust(bool exhausted)
{
    host.exhausted = exhausted;
}

uint32_t *zephyr_host_function(pcie_bdf_t bdf)
{
    host.bdf = bdf;
    return host.configuration;
}

const char *zephyr_host_log(void)
{
    return host.log;
}

static uintptr_t base_of_image(void)
{
    return (uintptr_t)&anchor & ~(uintptr_t)(ZEPHYR_HOST_ALIGNMENT - 1);
}

/* The image may begin below the anchor: physical addresses begin so far above 0. */
uint64_t zephyr_host_physical(const void *memory)
{
    return ZEPHYR_HOST_MEMORY + ((uint64_t)(uintptr_t)memory - base_of_image());
}

bool zephyr_host_read64(void *ctx, uint64_t physical, uint64_t *value)
{
    const unsigned char *bytes =
        (const unsigned char *)(base_of_image() + (uintptr_t)(physical - ZEPHYR_HOST_MEMORY));

    (void)ctx;
    *value = 0;
    for (unsigned int i = 0; i < sizeof(*value); i++) {
        *value |= (uint64_t)bytes[i] << 8 * i;
    }
    return true;
}

/* ---- Memory ---- */

void *k_aligned_alloc(size_t alignment, size_t size)
{
    void *memory;

    EXPECT(!host.locked);
    EXPECT(size != 0);
    if (host.fail_allocation != 0 && --host.fail_allocation == 0) {
        return NULL;
    }
    memory = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    EXPECT(memory != NULL);
    memset(memory, 0xa5, size);
    host.objects++;
    return memory;
}

void k_free(void *memory)
{
    EXPECT(!host.locked);
    host.objects -= memory != NULL;
    free(memory);
}

int k_mem_slab_init(struct k_mem_slab *slab, void *memory, size_t block, uint32_t count)
{
    EXPECT((uintptr_t)memory % block == 0 && count <= 64);
    *slab = (struct k_mem_slab){.memory = memory, .block = block, .count = count};
    return 0;
}

int k_mem_slab_alloc(struct k_mem_slab *slab, void **memory, k_timeout_t timeout)
{
    EXPECT(timeout.ticks == 0 || !host.interrupt);
    for (uint32_t i = 0; !host.exhausted && i < slab->count; i++) {
        if ((slab->taken >> i & 1) == 0) {
            slab->taken |= UINT64_C(1) << i;
            *memory = slab->memory + i * slab->block;
            host.blocks++;
            return 0;
        }
    }
    return -12;
}

static void free_block(struct k_mem_slab *slab, const void *memory)
{
    size_t i = (size_t)((const unsigned char *)memory - slab->memory) / slab->block;

    EXPECT(memory == slab->memory + i * slab->block && i < slab->count);
    EXPECT((slab->taken >> i & 1) == 1);
    slab->taken &= ~(UINT64_C(1) << i);
    host.blocks--;
}

#ifdef FOREIGN_OLD
void k_mem_slab_free(struct k_mem_slab *slab, void **memory)
{
    free_block(slab, *memory);
}
#else
void k_mem_slab_free(struct k_mem_slab *slab, void *memory)
{
    free_block(slab, memory);
}
#endif

void k_heap_init(struct k_heap *heap, void *memory, size_t size)
{
    *heap = (struct k_heap){.memory = memory, .size = size};
}

/* What is given back is used again when all of it is. */
void *k_heap_aligned_alloc(struct k_heap *heap, size_t alignment, size_t size, k_timeout_t timeout)
{
    uintptr_t end = (uintptr_t)heap->memory + heap->used;
    size_t gap = (size_t)(-end & (alignment - 1));

    EXPECT(timeout.ticks == 0 || !host.interrupt);
    if (host.exhausted || gap > heap->size - heap->used || size > heap->size - heap->used - gap) {
        return NULL;
    }
    heap->used += gap + size;
    heap->pieces++;
    host.blocks++;
    return (void *)(end + gap);
}

void k_heap_free(struct k_heap *heap, void *memory)
{
    EXPECT((uintptr_t)memory - (uintptr_t)heap->memory < heap->size);
    EXPECT(heap->pieces != 0);
    heap->pieces--;
    heap->used = heap->pieces == 0 ? 0 : heap->used;
    host.blocks--;
}

#ifdef FOREIGN_OLD
#define k_mem_phys_addr       z_mem_phys_addr
#define k_mem_unmap_phys_bare z_phys_unmap
#endif

uintptr_t k_mem_phys_addr(void *memory)
{
    return (uintptr_t)zephyr_host_physical(memory);
}

int sys_cache_data_flush_range(void *memory, size_t size)
{
    if (host.model != NULL) {
        piommu_ipmmu_model_clean(host.model, zephyr_host_physical(memory), size);
    }
    return 0;
}

int sys_cache_data_invd_range(void *memory, size_t size)
{
    memset(memory, 0, size);
    return 0;
}

void barrier_dsync_fence_full(void)
{
    if (host.model != NULL) {
        piommu_ipmmu_model_barrier(host.model);
    }
}

/* ---- Registers ---- */

void device_map(mm_reg_t *registers, uintptr_t physical, size_t size, uint32_t flags)
{
    EXPECT_MAY_SLEEP();
    EXPECT(size > 1 && flags == K_MEM_CACHE_NONE);
    *registers = physical;
    host.maps++;
    host.mapped += size;
}

void k_mem_unmap_phys_bare(uint8_t *registers, size_t size)
{
    EXPECT_MAY_SLEEP();
    EXPECT(registers != NULL && size > 1 && size <= host.mapped && host.maps != 0);
    host.maps--;
    host.mapped -= size;
}

static uint32_t read_register(mem_addr_t address, unsigned int width)
{
    uint32_t value = 0;

    if (host.model != NULL) {
        return piommu_ipmmu_model_read(host.model, address, width);
    }
    memcpy(&value, (const void *)address, width);
    return value;
}

static void write_register(mem_addr_t address, unsigned int width, uint32_t value)
{
    if (host.model != NULL) {
        piommu_ipmmu_model_write(host.model, address, width, value);
    } else {
        memcpy((void *)address, &value, width);
    }
}

uint8_t sys_read8(mem_addr_t address)
{
    return (uint8_t)read_register(address, 1);
}

uint16_t sys_read16(mem_addr_t address)
{
    return (uint16_t)read_register(address, 2);
}

uint32_t sys_read32(mem_addr_t address)
{
    return read_register(address, 4);
}

void sys_write8(uint8_t value, mem_addr_t address)
{
    write_register(address, 1, value);
}

void sys_write16(uint16_t value, mem_addr_t address)
{
    write_register(address, 2, value);
}

void sys_write32(uint32_t value, mem_addr_t address)
{
    write_register(address, 4, value);
}

/* ---- PCI ---- */

uint32_t pcie_conf_read(pcie_bdf_t bdf, unsigned int word)
{
    EXPECT(word < CONFIGURATION_WORDS);
    return bdf == host.bdf ? host.configuration[word] : UINT32_MAX;
}

void pcie_conf_write(pcie_bdf_t bdf, unsigned int word, uint32_t value)
{
    EXPECT(word < CONFIGURATION_WORDS && bdf == host.bdf);
    host.configuration[word] = value;
}

/* They have 16 KiB. */
bool pcie_get_mbar(pcie_bdf_t bdf, unsigned int index, struct pcie_bar *bar)
{
    uint32_t value = pcie_conf_read(bdf, PCIE_CONF_BAR0 + index);
    uint32_t upper = PCIE_CONF_BAR_64(value) ? pcie_conf_read(bdf, PCIE_CONF_BAR0 + index + 1) : 0;

    bar->phys_addr = (uintptr_t)((uint64_t)upper << 32 | (value & ~UINT32_C(0xf)));
    bar->size = 0x4000;
    return value != UINT32_MAX && bar->phys_addr != 0;
}

/* ---- Locks, interrupts, threads ---- */

k_spinlock_key_t k_spin_lock(struct k_spinlock *lock)
{
    EXPECT(!host.locked && !lock->held);
    host.locked = true;
    lock->held = true;
    host.counters.locks_in_interrupts += host.interrupt;
    return (k_spinlock_key_t){.key = host.interrupt ? KEY : KEY + 1};
}

void k_spin_unlock(struct k_spinlock *lock, k_spinlock_key_t key)
{
    EXPECT(host.locked && lock->held);
    EXPECT(key.key == (host.interrupt ? KEY : KEY + 1));
    host.locked = false;
    lock->held = false;
    if (!host.interrupt && host.unlocked != NULL) {
        host.unlocked(host.unlocked_ctx);
    }
}

int k_mutex_init(struct k_mutex *mutex)
{
    mutex->held = false;
    return 0;
}

int k_mutex_lock(struct k_mutex *mutex, k_timeout_t timeout)
{
    EXPECT_MAY_SLEEP();
    EXPECT(!mutex->held && timeout.ticks < 0);
    mutex->held = true;
    host.mutex = true;
    return 0;
}

int k_mutex_unlock(struct k_mutex *mutex)
{
    EXPECT_MAY_SLEEP();
    EXPECT(mutex->held);
    mutex->held = false;
    host.mutex = false;
    return 0;
}

void k_work_init(struct k_work *work, void (*handler)(struct k_work *work))
{
    work->handler = handler;
}

int k_work_submit(struct k_work *work)
{
    EXPECT(!host.locked);
    host.work = work;
    host.counters.works++;
    return 1;
}

/* Nothing runs beside the caller but what the test has put there. */
bool k_work_cancel_sync(struct k_work *work, struct k_work_sync *sync)
{
    bool pending = host.work != NULL;

    EXPECT_MAY_SLEEP();
    EXPECT(!host.mutex);
    EXPECT(!pending || host.work == work);
    sync->filling = 0;
    host.work = NULL;
    if (host.cancelling != NULL) {
        host.cancelling(host.cancelling_ctx);
    }
    return pending;
}

atomic_val_t atomic_get(const atomic_t *target)
{
    return *target;
}

atomic_val_t atomic_set(atomic_t *target, atomic_val_t value)
{
    atomic_val_t before = *target;

    *target = value;
    return before;
}

atomic_val_t atomic_inc(atomic_t *target)
{
    return atomic_set(target, *target + 1);
}

atomic_val_t atomic_dec(atomic_t *target)
{
    return atomic_set(target, *target - 1);
}

void irq_enable(unsigned int irq)
{
    EXPECT(irq != 0);
    host.irq_disabled = false;
}

void irq_disable(unsigned int irq)
{
    EXPECT(irq != 0);
    host.irq_disabled = true;
}

bool k_is_in_isr(void)
{
    return host.interrupt;
}

bool k_is_pre_kernel(void)
{
    return host.pre_kernel;
}

/* ---- Time, log ---- */

int64_t k_uptime_ticks(void)
{
    return host.ticks;
}

uint64_t k_ticks_to_ns_floor64(uint64_t ticks)
{
    return ticks * ZEPHYR_HOST_TICK_NANOSECONDS;
}

int32_t k_sleep(k_timeout_t timeout)
{
    EXPECT_MAY_SLEEP();
    EXPECT(timeout.ticks > 0);
    host.ticks += timeout.ticks + 1;
    host.counters.sleeps++;
    return 0;
}

/* Whoever yields so often has used a tick. */
void k_yield(void)
{
    EXPECT_MAY_SLEEP();
    host.counters.yields++;
    host.ticks += host.counters.yields % 16 == 0;
}

void foreign_log(char level, const char *format, ...)
{
    va_list arguments;

    host.log[0] = level;
    va_start(arguments, format);
    vsnprintf(host.log + 1, sizeof(host.log) - 1, format, arguments);
    va_end(arguments);
    host.counters.log_lines++;
}
