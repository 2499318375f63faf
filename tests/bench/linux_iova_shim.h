/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_TESTS_BENCH_LINUX_IOVA_SHIM_H
#define PIOMMU_TESTS_BENCH_LINUX_IOVA_SHIM_H

/*
 * What drivers/iommu/iova.c and lib/rbtree.c of Linux need of a kernel beyond linux_shim.h. As
 * there: names and meanings are the kernel's, and the cheapest choice is taken.
 */

#include "iova.h"
#include "linux_shim.h"

/* The compiler and the build. */
#define __percpu
#define IS_REACHABLE(option) 1
#define static_assert(condition) _Static_assert(condition, #condition)
#define EXPORT_SYMBOL(name)
#define MODULE_AUTHOR(text)
#define MODULE_DESCRIPTION(text)
#define MODULE_LICENSE(text)
#define ERR_PTR(error)    ((void *)(long)(error))
#define BUG_ON(condition) ((void)WARN_ON(condition))
#define kmemleak_transient_leak(pointer)

/* Numbers. */
#define ULLONG_MAX            (~0ull)
#define ALIGN(x, power)       (((x) + (power)-1) & ~((power)-1))
#define ALIGN_DOWN(x, power)  ((x) & ~((power)-1))
#define is_power_of_2(x)      ((x) != 0 && ((x) & ((x)-1)) == 0)
#define fls_long(x)           ((x) == 0 ? 0 : (int)__fls(x) + 1)
#define order_base_2(x)       ((x) > 1 ? ilog2((x)-1) + 1 : 0)
#define roundup_pow_of_two(x) (1ul << order_base_2(x))
#define swap(a, b)               \
    do {                         \
        typeof(a) swap_a_ = (a); \
        (a) = (b);               \
        (b) = swap_a_;           \
    } while (0)

/* Locks: none of them is ever waited for where one thread runs, but each costs an atomic. */
typedef struct spin spinlock_t;
#define spin_lock_init(lock)                ((lock)->taken = 0)
#define spin_lock(lock)                     spin_lock_plainly(lock)
#define spin_unlock(lock)                   spin_unlock_plainly(lock)
#define spin_lock_irqsave(lock, flags)      ((flags) = 0, spin_lock_plainly(lock))
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), spin_unlock_plainly(lock))
#define assert_spin_locked(lock)            ((void)(lock))
#define rcu_assign_pointer(pointer, value)  __atomic_store_n(&(pointer), (value), __ATOMIC_RELEASE)

/* One thread creates and destroys. */
#define DEFINE_MUTEX(name)  int name
#define mutex_lock(mutex)   ((void)(mutex))
#define mutex_unlock(mutex) ((void)(mutex))

struct hlist_node {
    struct hlist_node *next, **pprev;
};
#define hlist_entry_safe(pointer, type, member)                     \
    ({                                                              \
        typeof(pointer) entry_ = (pointer);                         \
        entry_ != NULL ? container_of(entry_, type, member) : NULL; \
    })

/* Memory. */
#define __GFP_NOWARN       0u
#define SLAB_HWCACHE_ALIGN 1u
#define LINUX_LINE         ((size_t)BENCH_LINE)
#define LINUX_MOST_CPUS    2u
#define LINUX_CHUNK        32768ul
#define cache_line_size()  LINUX_LINE

extern uint64_t linux_bytes; /* asked for, in all */

static inline void *linux_zeroed(size_t size)
{
    linux_bytes += size;
    return memset(pool_alloc_object(size), 0, size);
}
#define kcalloc(count, size, gfp) linux_zeroed((count) * (size))

/* Objects of one size, last in, first out for each CPU. */
struct kmem_cache {
    size_t size;
    size_t stride;
    void *free[LINUX_MOST_CPUS];
    void *chunks;
    struct spin lock; /* of `chunks` and what is counted */
};

static inline struct kmem_cache *kmem_cache_create(const char *name, size_t size, size_t align,
                                                   unsigned int flags, void (*construct)(void *))
{
    struct kmem_cache *cache = linux_zeroed(sizeof(*cache));

    (void)name;
    (void)align;
    (void)flags;
    (void)construct;
    cache->size = size;
    cache->stride = ALIGN(size, LINUX_LINE);
    return cache;
}

static inline void kmem_cache_destroy(struct kmem_cache *cache)
{
    while (cache->chunks != NULL) {
        void *chunk = cache->chunks;

        cache->chunks = *(void **)chunk;
        pool_free_object(chunk);
    }
    pool_free_object(cache);
}

static __attribute__((noinline)) void kmem_cache_refill(struct kmem_cache *cache)
{
    /* The first line is for the chain. */
    char *chunk = pool_alloc_object(LINUX_LINE + LINUX_CHUNK);
    char *first = chunk + LINUX_LINE;

    spin_lock_plainly(&cache->lock);
    *(void **)chunk = cache->chunks;
    cache->chunks = chunk;
    linux_bytes += LINUX_CHUNK;
    spin_unlock_plainly(&cache->lock);
    for (size_t at = 0; at + cache->stride <= LINUX_CHUNK; at += cache->stride) {
        *(void **)(first + at) = cache->free[this_cpu];
        cache->free[this_cpu] = first + at;
    }
}

static inline void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t gfp)
{
    void *object;

    (void)gfp;
    if (unlikely(cache->free[this_cpu] == NULL)) {
        kmem_cache_refill(cache);
    }
    object = cache->free[this_cpu];
    cache->free[this_cpu] = *(void **)object;
    return object;
}
#define kmem_cache_zalloc(cache, gfp) memset(kmem_cache_alloc((cache), (gfp)), 0, (cache)->size)

static inline void kmem_cache_free(struct kmem_cache *cache, void *object)
{
    *(void **)object = cache->free[this_cpu];
    cache->free[this_cpu] = object;
}

/* CPUs. What each has is in lines of its own. */
extern unsigned int linux_cpus;
#define LINUX_IN_LINES(size)       ALIGN((size), LINUX_LINE)
#define for_each_possible_cpu(cpu) for ((cpu) = 0; (cpu) < linux_cpus; (cpu)++)
#define for_each_online_cpu(cpu)   for_each_possible_cpu(cpu)
#define num_online_cpus()          linux_cpus
#define __alloc_percpu(size, align) \
    ((void)(align), linux_zeroed(LINUX_MOST_CPUS * LINUX_IN_LINES(size)))
#define free_percpu(pointer) pool_free_object(pointer)
#define per_cpu_ptr(pointer, cpu) \
    ((typeof(pointer))((char *)(pointer) + (cpu)*LINUX_IN_LINES(sizeof(*(pointer)))))
#define raw_cpu_ptr(pointer) per_cpu_ptr((pointer), this_cpu)

/* No CPU goes away. */
enum { CPUHP_IOMMU_IOVA_DEAD };
#define cpuhp_setup_state_multi(state, name, online, dead) ((void)(dead), 0)
#define cpuhp_remove_multi_state(state)                    ((void)(state))
#define cpuhp_state_add_instance_nocalls(state, node)      ((void)(node), 0)
#define cpuhp_state_remove_instance_nocalls(state, node)   ((void)(node))

/* Work that never comes to run: nothing is taken from what is kept for all CPUs. */
struct work_struct {
    void (*function)(struct work_struct *work);
};
struct delayed_work {
    struct work_struct work;
};
#define msecs_to_jiffies(time)            (time)
#define INIT_DELAYED_WORK(delayed, run)   ((delayed)->work.function = (run))
#define schedule_delayed_work(work, time) ((void)(work))
#define cancel_delayed_work_sync(delayed) ((void)(delayed))

#endif
