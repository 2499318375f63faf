/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_TESTS_BENCH_LINUX_SHIM_H
#define PIOMMU_TESTS_BENCH_LINUX_SHIM_H

/*
 * Just enough of a kernel for drivers/iommu/io-pgtable*.c of Linux to compile, unchanged, in a
 * program: every kernel header that they include, except for their own, leads here.
 *
 * Written for this benchmark. Names and meanings are the kernel's, since its files use them; where
 * a kernel has a choice, this takes the cheapest: no debugging, no statistics, one NUMA node.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"

/* Types. */
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef u64 phys_addr_t;
typedef u64 dma_addr_t;
typedef unsigned int gfp_t;

/* Errors. */
#define ENOMEM 12
#define EFAULT 14
#define EEXIST 17
#define EINVAL 22
#define ERANGE 34

/* The compiler. */
#define __init
#define __initdata
#define __initconst
#define EXPORT_SYMBOL_GPL(name)
#define likely(x)    __builtin_expect(!!(x), 1)
#define unlikely(x)  __builtin_expect(!!(x), 0)
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value)                   \
    do {                                       \
        *(volatile typeof(x) *)&(x) = (value); \
    } while (0)
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

void *memset(void *memory, int value, size_t size);

/* Numbers. */
#define BITS_PER_LONG      64
#define BIT(n)             (1ul << (n))
#define GENMASK_ULL(h, l)  ((~0ull >> (63 - (h))) & (~0ull << (l)))
#define ARRAY_SIZE(array)  (sizeof(array) / sizeof((array)[0]))
#define DIV_ROUND_UP(n, d) (((n) + (d)-1) / (d))
#define min(a, b)                          \
    ({                                     \
        typeof(a) min_a_ = (a);            \
        typeof(b) min_b_ = (b);            \
        min_a_ < min_b_ ? min_a_ : min_b_; \
    })
#define min_t(type, a, b) min((type)(a), (type)(b))
#define __ffs(x)          ((unsigned long)__builtin_ctzl(x))
#define __fls(x)          (63ul - (unsigned long)__builtin_clzl(x))
#define ilog2(x)          (63 - __builtin_clzll(x))

#define for_each_set_bit(bit, words, count)   \
    for ((bit) = 0; (bit) < (count); (bit)++) \
        if (((*(words) >> (bit)) & 1) == 0) { \
        } else

static inline void set_bit(long bit, volatile unsigned long *word)
{
    __atomic_fetch_or(word, 1ul << bit, __ATOMIC_SEQ_CST);
}

#define SZ_4K   0x1000ul
#define SZ_16K  0x4000ul
#define SZ_64K  0x10000ul
#define SZ_2M   0x200000ul
#define SZ_32M  0x2000000ul
#define SZ_512M 0x20000000ul
#define SZ_1G   0x40000000ul
#define SZ_2G   0x80000000ul

/* Order between CPUs and devices: the stronger barrier is the one of the others, see bench.h; the
   weaker one keeps just the compiler in order, which is all that x86 needs for it. */
#define wmb()                                bench_barrier()
#define dma_wmb()                            __asm__ volatile("" ::: "memory")
#define cmpxchg64_relaxed(pointer, old, new) __sync_val_compare_and_swap((pointer), (old), (new))

/* Complaints. Those that point at a mistake of the caller are counted, and fail the benchmark. */
void linux_warn(const char *file, int line);
void linux_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define WARN_ON(condition)                  \
    ({                                      \
        bool warn_ = !!(condition);         \
        if (unlikely(warn_)) {              \
            linux_warn(__FILE__, __LINE__); \
        }                                   \
        unlikely(warn_);                    \
    })
#define WARN(condition, ...)      \
    ({                            \
        linux_print(__VA_ARGS__); \
        WARN_ON(condition);       \
    })
#define VM_BUG_ON(condition) ((void)sizeof(condition))
#define pr_err(...)          linux_print(__VA_ARGS__)
#define pr_info(...)         linux_print(__VA_ARGS__)
#define dev_err(device, ...) linux_print(__VA_ARGS__)

/* Lists: only headers that are included want them. */
struct list_head {
    struct list_head *next, *prev;
};
static inline void INIT_LIST_HEAD(struct list_head *list)
{
    list->next = list;
    list->prev = list;
}
static inline bool list_empty(const struct list_head *list)
{
    return list->next == list;
}
static inline void list_del(struct list_head *entry)
{
    entry->next->prev = entry->prev;
    entry->prev->next = entry->next;
}
#define list_entry container_of

/* Memory, from the pool of the benchmark. A page is the address of its memory. */
#define PAGE_SIZE     4096ul
#define PAGE_MASK     (~(PAGE_SIZE - 1))
#define GFP_KERNEL    0u
#define GFP_ATOMIC    1u
#define __GFP_ZERO    2u
#define __GFP_HIGHMEM 4u
#define NUMA_NO_NODE  (-1)

struct page {
    struct list_head lru;
};
enum { NR_IOMMU_PAGES, NR_SECONDARY_PAGETABLE };
#define mod_node_page_state(node, item, delta)   ((void)(delta))
#define mod_lruvec_page_state(page, item, delta) ((void)(delta))
#define page_address(page)                       ((void *)(page))
#define virt_to_page(virtual)                    ((struct page *)(virtual))
#define put_page(page)                           pool_free((page), PAGE_SIZE)
#define virt_to_phys(virtual)                    ((phys_addr_t)(uintptr_t)(virtual))
#define __pa(virtual)                            virt_to_phys(virtual)
#define __va(physical)                           ((void *)(uintptr_t)(physical))

static inline int get_order(unsigned long size)
{
    return size <= PAGE_SIZE ? 0 : (int)__fls(size - 1) - 11;
}

static inline struct page *alloc_pages(gfp_t gfp, int order)
{
    void *memory = pool_alloc(PAGE_SIZE << order);

    if ((gfp & __GFP_ZERO) != 0) {
        memset(memory, 0, PAGE_SIZE << order);
    }
    return memory;
}
#define alloc_pages_node(node, gfp, order) ((void)(node), alloc_pages((gfp), (order)))

static inline void __free_pages(struct page *page, int order)
{
    pool_free(page, PAGE_SIZE << order);
}
#define kmalloc(size, gfp) pool_alloc_object(size)
#define kfree(object)      pool_free_object(object)

/* Devices, and cleaning caches for them. */
struct device {
    int node;
};
#define dev_to_node(device)         ((device)->node)
#define set_dev_node(device, value) ((void)((device)->node = (value)))
#define DMA_TO_DEVICE               1

static inline dma_addr_t dma_map_single(struct device *device, void *memory, size_t size,
                                        int direction)
{
    (void)device;
    (void)direction;
    bench_clean(memory, size);
    return virt_to_phys(memory);
}
#define dma_mapping_error(device, address)                 ((void)(address), 0)
#define dma_unmap_single(device, address, size, direction) ((void)(address))
#define dma_sync_single_for_device(device, address, size, direction) \
    bench_clean((const void *)(uintptr_t)(address), (size))

/* What a driver has around its page tables. */
#define IOMMU_READ   1
#define IOMMU_WRITE  2
#define IOMMU_CACHE  4
#define IOMMU_NOEXEC 8
#define IOMMU_MMIO   16
#define IOMMU_PRIV   32

#define IOMMU_DIRTY_NO_CLEAR 1
struct iommu_dirty_bitmap;
#define iommu_dirty_bitmap_record(dirty, address, size) ((void)(dirty), (void)(address))

struct iommu_iotlb_gather {
    unsigned long start;
    unsigned long end;
    size_t pgsize;
    struct list_head freelist;
    bool queued;
};

struct iommu_domain;
struct iommu_domain_ops {
    void (*iotlb_sync)(struct iommu_domain *domain, struct iommu_iotlb_gather *gather);
};
struct iommu_domain {
    const struct iommu_domain_ops *ops;
};

static inline void iommu_iotlb_gather_init(struct iommu_iotlb_gather *gather)
{
    *gather = (struct iommu_iotlb_gather){.start = ~0ul};
    INIT_LIST_HEAD(&gather->freelist);
}

static inline void iommu_iotlb_sync(struct iommu_domain *domain, struct iommu_iotlb_gather *gather)
{
    if (domain->ops->iotlb_sync != NULL) {
        domain->ops->iotlb_sync(domain, gather);
    }
    iommu_iotlb_gather_init(gather);
}

static inline bool iommu_iotlb_gather_queued(const struct iommu_iotlb_gather *gather)
{
    return gather != NULL && gather->queued;
}

/* A gather holds one range of pages of one size; what does not join it goes after a sync. */
static inline void iommu_iotlb_gather_add_page(struct iommu_domain *domain,
                                               struct iommu_iotlb_gather *gather,
                                               unsigned long iova, size_t size)
{
    unsigned long last = iova + size - 1;
    bool other_size = gather->pgsize != 0 && gather->pgsize != size;
    bool apart = gather->end != 0 && (iova > gather->end + 1 || last + 1 < gather->start);

    if (other_size || apart) {
        iommu_iotlb_sync(domain, gather);
    }
    gather->pgsize = size;
    if (iova < gather->start) {
        gather->start = iova;
    }
    if (last > gather->end) {
        gather->end = last;
    }
}

/* The kernel calls this while it boots; the program linux_selftest.c does. */
#define subsys_initcall(function) \
    int linux_selftest(void);     \
    int linux_selftest(void)      \
    {                             \
        return function();        \
    }

#endif
