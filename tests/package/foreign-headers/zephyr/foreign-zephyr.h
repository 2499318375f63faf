/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FOREIGN_ZEPHYR_H
#define FOREIGN_ZEPHYR_H

/*
 * Stands in for the headers of Zephyr that examples/zephyr includes: no part of Zephyr. It states
 * what the public documentation promises of the few names that are used there, so that the port can
 * be compiled, and tested against these promises, without Zephyr. Whether it builds with Zephyr, or
 * runs on it, is not shown by this.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- The configuration, as a test wants it ---- */

#define CONFIG_PIOMMU_LOG_LEVEL   3
#define CONFIG_PIOMMU_TABLE_PAGES 16
#define CONFIG_PIOMMU_LARGE_BYTES 65536
/* A version in which some names are others. */
#ifdef FOREIGN_OLD
#define ZEPHYR_VERSION_CODE ZEPHYR_VERSION(3, 4, 0)
#else
#define ZEPHYR_VERSION_CODE ZEPHYR_VERSION(3, 7, 0)
#endif
#define ZEPHYR_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + (patch))
/* A target with less: no MMU, no PCI, all memory cached. */
#ifndef FOREIGN_SMALL
#define CONFIG_MMU             1
#define CONFIG_MMU_PAGE_SIZE   4096
#define CONFIG_PCIE            1
#define CONFIG_PIOMMU_UNCACHED 1
#endif

/* ---- Memory ---- */

#define __aligned(bytes) __attribute__((aligned(bytes)))
/* In a part of the image that is not cached. */
#define __nocache __attribute__((section("nocache")))
/* The structure that has a member here. */
#define CONTAINER_OF(pointer, type, member) \
    ((type *)(void *)((unsigned char *)(pointer)-offsetof(type, member)))

/* Aligned for any object. It stands in for max_align_t, which the C library may not have. */
typedef union {
    long long integer;
    long double real;
    void *pointer;
} z_max_align_t;

/* The system heap: from anywhere, interrupts too; NULL: there is no memory. */
void *k_aligned_alloc(size_t alignment, size_t size);
void k_free(void *memory);

/* How long to wait for memory: not at all is what interrupts may. */
typedef struct {
    int64_t ticks;
} k_timeout_t;
#define K_NO_WAIT       ((k_timeout_t){0})
#define K_FOREVER       ((k_timeout_t){-1})
#define K_TICKS(number) ((k_timeout_t){number})
#define K_MSEC(number)  ((k_timeout_t){10 * (int64_t)(number)})
typedef int64_t k_ticks_t;

/* Blocks of one size; the memory is aligned as they are to be. */
struct k_mem_slab {
    unsigned char *memory;
    size_t block;
    uint32_t count;
    uint64_t taken;
};
int k_mem_slab_init(struct k_mem_slab *slab, void *memory, size_t block, uint32_t count);
/* 0, or negative: there is none. From anywhere with K_NO_WAIT. */
int k_mem_slab_alloc(struct k_mem_slab *slab, void **memory, k_timeout_t timeout);
/* Before 3.5 it takes the address of a pointer to the block. */
#ifdef FOREIGN_OLD
void k_mem_slab_free(struct k_mem_slab *slab, void **memory);
#else
void k_mem_slab_free(struct k_mem_slab *slab, void *memory);
#endif

/* Pieces of any size. */
struct k_heap {
    unsigned char *memory;
    size_t size;
    size_t used;
    unsigned int pieces;
};
void k_heap_init(struct k_heap *heap, void *memory, size_t size);
/* NULL: there is none. From anywhere with K_NO_WAIT. */
void *k_heap_aligned_alloc(struct k_heap *heap, size_t alignment, size_t size, k_timeout_t timeout);
void k_heap_free(struct k_heap *heap, void *memory);

/* With an MMU: where memory of the image is; and mappings of registers, undone. */
#ifdef FOREIGN_OLD
uintptr_t z_mem_phys_addr(void *memory);
void z_phys_unmap(uint8_t *registers, size_t size);
#else
uintptr_t k_mem_phys_addr(void *memory);
void k_mem_unmap_phys_bare(uint8_t *registers, size_t size);
#endif

/* Writes lines back; throws lines away. From anywhere. */
int sys_cache_data_flush_range(void *memory, size_t size);
int sys_cache_data_invd_range(void *memory, size_t size);
/* Waits until all accesses before it are done, those of devices too. */
void barrier_dsync_fence_full(void);

/* Called once, before the kernel runs. */
#define SYS_INIT(function, level, priority) \
    int foreign_init_##function(void);      \
    int foreign_init_##function(void)       \
    {                                       \
        return function();                  \
    }                                       \
    struct foreign_semicolon

/* ---- Registers ---- */

typedef uintptr_t mm_reg_t;
typedef uintptr_t mem_addr_t;
#define K_MEM_CACHE_NONE 2u
/* Makes registers accessible, not less than 2 bytes. With an MMU or PCI only. From threads. */
#if defined(CONFIG_MMU) || defined(CONFIG_PCIE)
void device_map(mm_reg_t *registers, uintptr_t physical, size_t size, uint32_t flags);
#endif
/* Accesses as wide as the name says, little-endian, in order. From anywhere. */
uint8_t sys_read8(mem_addr_t address);
uint16_t sys_read16(mem_addr_t address);
uint32_t sys_read32(mem_addr_t address);
void sys_write8(uint8_t value, mem_addr_t address);
void sys_write16(uint16_t value, mem_addr_t address);
void sys_write32(uint32_t value, mem_addr_t address);

/* A function of a bus; a BAR, where the CPU sees it. */
typedef uint32_t pcie_bdf_t;
#define PCIE_BDF(bus, device, function)                                     \
    ((((uint32_t)(bus)&0xffu) << 16) | (((uint32_t)(device)&0x1fu) << 11) | \
     (((uint32_t)(function)&7u) << 8))
struct pcie_bar {
    uintptr_t phys_addr;
    size_t size;
};
/* What is in a BAR: the first word of one of memory, of which it may be the lower half. */
#define PCIE_CONF_BAR0          4u
#define PCIE_CONF_BAR_MEM(word) (((word)&1u) == 0)
#define PCIE_CONF_BAR_64(word)  (((word)&6u) == 4)
/* Words of configuration space by number. All ones where there is no function. */
uint32_t pcie_conf_read(pcie_bdf_t bdf, unsigned int word);
void pcie_conf_write(pcie_bdf_t bdf, unsigned int word, uint32_t value);
/* Sets or clears bits of the command. */
#define PCIE_CONF_CMDSTAT_MEM    2u
#define PCIE_CONF_CMDSTAT_MASTER 4u
void pcie_set_cmd(pcie_bdf_t bdf, uint32_t bits, bool on);
/*
 * False: BAR number `index` is not there, or has no address. That it is of memory, and not the
 * upper half of another one, is for the caller to know. Writes to it for a moment.
 */
bool pcie_get_mbar(pcie_bdf_t bdf, unsigned int index, struct pcie_bar *bar);

/* ---- Locks, interrupts, threads ---- */

/* Masks interrupts of this CPU, and keeps the other CPUs out. From anywhere; does not nest. */
struct k_spinlock {
    bool held;
};
typedef struct {
    int key;
} k_spinlock_key_t;
k_spinlock_key_t k_spin_lock(struct k_spinlock *lock);
void k_spin_unlock(struct k_spinlock *lock, k_spinlock_key_t key);

/* In an order that all CPUs see. From anywhere. They return what was there before. */
typedef long atomic_t;
typedef long atomic_val_t;
atomic_val_t atomic_get(const atomic_t *target);
atomic_val_t atomic_set(atomic_t *target, atomic_val_t value);
atomic_val_t atomic_inc(atomic_t *target);
atomic_val_t atomic_dec(atomic_t *target);

/* Threads only, with no spin lock held; the thread that has locked it unlocks it. */
struct k_mutex {
    bool held;
};
int k_mutex_init(struct k_mutex *mutex);
int k_mutex_lock(struct k_mutex *mutex, k_timeout_t timeout);
int k_mutex_unlock(struct k_mutex *mutex);

/* Work for a thread of the system. Submitted from anywhere; once until it has begun. */
struct k_work {
    void (*handler)(struct k_work *work);
};
void k_work_init(struct k_work *work, void (*handler)(struct k_work *work));
int k_work_submit(struct k_work *work);
/* Waits for the work if it runs, so it must not wait for the caller; else it never will run. */
struct k_work_sync {
    char filling;
};
bool k_work_cancel_sync(struct k_work *work, struct k_work_sync *sync);

/* An interrupt at the controller. From anywhere. */
#define IRQ_TYPE_LEVEL 2u
int irq_connect_dynamic(unsigned int irq, unsigned int priority, void (*routine)(const void *),
                        const void *parameter, uint32_t flags);
void irq_enable(unsigned int irq);
void irq_disable(unsigned int irq);

/* Where the caller is. */
bool k_is_in_isr(void);
bool k_is_pre_kernel(void);

/* ---- Time, log ---- */

/* Ticks since boot, and their length. From anywhere. */
int64_t k_uptime_ticks(void);
uint64_t k_ticks_to_ns_floor64(uint64_t ticks);
uint64_t k_ns_to_ticks_ceil64(uint64_t nanoseconds);
/* Threads only, with no spin lock held. Sleeps for so many ticks and a part of one. */
int32_t k_sleep(k_timeout_t timeout);
void k_yield(void);

/* From anywhere. The level is what is told to the module and no less. */
void foreign_log(char level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define LOG_MODULE_REGISTER(name, level) struct foreign_semicolon
#define LOG_ERR(...)                     foreign_log('E', __VA_ARGS__)
#define LOG_WRN(...)                     foreign_log('W', __VA_ARGS__)
#define LOG_INF(...)                     foreign_log('I', __VA_ARGS__)
__attribute__((format(printf, 1, 2))) void printk(const char *format, ...);

/* ---- The device tree ---- */

/*
 * Nodes are prefixes of macros, which Zephyr's build makes of the tree. Those of a test are like
 * DEPENDENCY of node_x: node_x_ord.
 */
#define FOREIGN_JOIN(one, other)                 one##other
#define FOREIGN_JOINED(one, other)               FOREIGN_JOIN(one, other)
#define DT_DEP_ORD(node)                         FOREIGN_JOINED(node, _ord)
#define DT_REG_ADDR(node)                        FOREIGN_JOINED(node, _reg)
#define DT_NODE_HAS_PROP(node, property)         FOREIGN_JOINED(node, _has_##property)
#define DT_PROP_BY_IDX(node, property, index)    FOREIGN_JOINED(node, _##property##_##index)
#define DT_PHANDLE_BY_IDX(node, property, index) FOREIGN_JOINED(node, _##property##_node_##index)
#define DT_PHA_BY_IDX(node, property, index, cell) \
    FOREIGN_JOINED(node, _##property##_##cell##_##index)
/* The first if the flag is the token 1, else the second; both are in parentheses. */
#define COND_CODE_1(flag, one, other)    FOREIGN_CHOICE(flag, one, other)
#define FOREIGN_CHOICE(flag, one, other) FOREIGN_CHOICE_##flag(one, other)
#define FOREIGN_CHOICE_1(one, other)     FOREIGN_BARE one
#define FOREIGN_CHOICE_0(one, other)     FOREIGN_BARE other
#define FOREIGN_BARE(...)                __VA_ARGS__

#endif
