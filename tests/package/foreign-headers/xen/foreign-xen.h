/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FOREIGN_XEN_H
#define FOREIGN_XEN_H

/*
 * Stands in for the headers of Xen that examples/xen includes: no part of Xen. It states of each
 * name that is used there what it is to those who use it, so that the glue can be compiled without
 * Xen (64-bit Arm, as of 2026). Whether the glue builds in Xen's tree, or runs, is not shown by
 * this.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Numbers ---- */

/* Results of hypervisor functions, negated; as on Linux. */
#define EPERM      1
#define ESRCH      3
#define EIO        5
#define ENOMEM     12
#define EBUSY      16
#define EEXIST     17
#define EXDEV      18
#define ENODEV     19
#define EINVAL     22
#define ENOSPC     28
#define EOPNOTSUPP 95
/* How a 64-bit number is printed. */
#define PRIx64 "lx"

/* Pages of the machine and of guests. */
#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ul
/* Width of machine addresses. */
#define PADDR_BITS 48

typedef uint64_t paddr_t;
/* Frame numbers: of the machine, of a guest, and as devices of a guest see them. Not mixed up. */
typedef struct {
    unsigned long number;
} mfn_t;
typedef struct {
    unsigned long number;
} gfn_t;
typedef struct {
    uint64_t number;
} dfn_t;
/* Into them and out of them. */
gfn_t _gfn(unsigned long number);
unsigned long gfn_x(gfn_t gfn);
uint64_t dfn_x(dfn_t dfn);
paddr_t mfn_to_maddr(mfn_t mfn);
mfn_t maddr_to_mfn(paddr_t address);

/* ---- Locks, time, log ---- */

typedef struct {
    unsigned int held;
} spinlock_t;

void spin_lock_init(spinlock_t *lock);
/* Does not nest; keeps neither interrupts nor, in Xen, preemption out, which there is none of. */
void spin_lock(spinlock_t *lock);
void spin_unlock(spinlock_t *lock);
/* With interrupts off meanwhile. `flags` is set, and handed back. */
unsigned long foreign_spin_lock_irqsave(spinlock_t *lock);
#define spin_lock_irqsave(lock, flags) ((flags) = foreign_spin_lock_irqsave(lock))
void spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);

/* Interrupts of this CPU. */
unsigned long foreign_irq_save(void);
#define local_irq_save(flags) ((flags) = foreign_irq_save())
void local_irq_restore(unsigned long flags);

/* Nanoseconds since boot, with interrupts off, too. */
typedef int64_t s_time_t;
s_time_t NOW(void);
/* A moment in a loop that polls. */
void cpu_relax(void);
/* The number of this CPU. */
unsigned int smp_processor_id(void);

/* From anywhere. A level comes first in the format. */
__attribute__((format(printf, 1, 2))) void printk(const char *format, ...);
#define XENLOG_ERR     "<0>"
#define XENLOG_WARNING "<1>"
#define XENLOG_INFO    "<2>"

/* Barriers that reach devices: all, loads, stores. */
void mb(void);
void rmb(void);
void wmb(void);

/* ---- Memory ---- */

/* With interrupts on, and locks held or not. Aligned to a cache line. NULL: none. */
void *xmalloc_bytes(size_t size);
/* An object, zeroed. */
void *foreign_xzalloc(size_t size);
#define xzalloc(type) ((type *)foreign_xzalloc(sizeof(type)))
/* NULL is ignored. */
void xfree(void *memory);
/* 2^order pages, aligned to their size, in the linear map. MEMF_bits: none above so many bits. */
void *alloc_xenheap_pages(unsigned int order, unsigned int flags);
void free_xenheap_pages(void *memory, unsigned int order);
#define MEMF_bits(bits) ((bits) << 24)
/* The least order of pages that holds so many bytes. */
unsigned int get_order_from_bytes(paddr_t size);
/* The machine address of an address in the linear map. */
paddr_t foreign_virt_to_maddr(const void *memory);
#define virt_to_maddr(memory) foreign_virt_to_maddr(memory)
/* Writes lines back to the point of coherency. */
int clean_dcache_va_range(const void *memory, unsigned long size);

/* A page, and its address. */
struct page_info;
paddr_t page_to_maddr(const struct page_info *page);

/* Registers as device memory; NULL: no room. Accesses of 32 bits, little-endian, in order. */
void *ioremap_nocache(paddr_t address, size_t size);
void iounmap(void *registers);
uint32_t readl(const volatile void *address);
void writel(uint32_t value, volatile void *address);

/* ---- Interrupts ---- */

/* Called with that interrupt off, on the CPU to which it is routed. */
int request_irq(unsigned int irq, unsigned int flags, void (*handler)(int irq, void *dev),
                const char *name, void *dev);
/* Waits for a handler that runs. */
void release_irq(unsigned int irq, const void *dev);

/* Work for later, on the CPU that schedules it; runs with interrupts on and no lock held. */
struct tasklet {
    void (*function)(void *data);
};
void tasklet_init(struct tasklet *tasklet, void (*function)(void *data), void *data);
void tasklet_schedule(struct tasklet *tasklet);

/* ---- The device tree ---- */

struct iommu_fwspec;

enum device_type {
    DEV_DT,
    DEV_PCI,
};

/* A master. */
typedef struct device {
    enum device_type type;
    void *iommu; /* the IOMMU driver's own; NULL at first */
} device_t;

struct dt_device_node {
    struct device dev;
    bool is_protected; /* an IOMMU driver looks after it */
};

/* What `iommus` says: a unit, and cells. */
struct dt_phandle_args {
    struct dt_device_node *np;
    int args_count;
    uint32_t args[16];
};

bool dev_is_dt(const device_t *dev);
struct dt_device_node *dev_to_dt(device_t *dev);
/* Names stay as long as the tree does, which is for ever. */
const char *dt_node_name(const struct dt_device_node *node);
const char *dt_node_full_name(const struct dt_device_node *node);
bool dt_device_is_compatible(const struct dt_device_node *node, const char *compatible);
/* The next behind `from`, or the first; `type` NULL: any. */
struct dt_device_node *dt_find_compatible_node(struct dt_device_node *from, const char *type,
                                               const char *compatible);
struct dt_device_node *dt_parse_phandle(const struct dt_device_node *node, const char *property,
                                        int index);
/* An entry of `reg`, as the CPU sees it. `size` may be NULL. */
int dt_device_get_paddr(const struct dt_device_node *node, unsigned int index, paddr_t *address,
                        paddr_t *size);
/* The number of an entry of `interrupts`, or negative. */
int platform_get_irq(const struct dt_device_node *node, int index);
void dt_device_set_protected(struct dt_device_node *node);
/* To whom a device belongs; DOMID_XEN: it is not shown to any guest. */
void dt_device_set_used_by(struct dt_device_node *node, uint16_t domid);
#define DOMID_XEN ((uint16_t)0x7ff2)

struct dt_device_match {
    const char *compatible;
};
#define DT_MATCH_COMPATIBLE(string) \
    {                               \
        .compatible = (string)      \
    }

enum device_class {
    DEVICE_IOMMU,
};

/* A driver: `init` is called at boot for each node that matches, in the order of the tree. */
struct device_desc {
    const char *name;
    enum device_class class;
    const struct dt_device_match *dt_match;
    int (*init)(struct dt_device_node *node, const void *data);
};
#define DT_DEVICE_START(identifier, text, kind) \
    const struct device_desc foreign_##identifier = {.name = (text), .class = (kind),
#define DT_DEVICE_END \
    }                 \
    ;

/* ---- Domains and their stage 2 ---- */

typedef struct {
    unsigned int held;
} rwlock_t;

typedef enum {
    p2m_invalid,
    p2m_ram_rw,
    p2m_ram_ro,
    p2m_mmio_direct_dev,
    p2m_mmio_direct_nc,
    p2m_mmio_direct_c,
    p2m_map_foreign_rw,
    p2m_map_foreign_ro,
    p2m_grant_map_rw,
    p2m_grant_map_ro,
    p2m_iommu_map_rw,
    p2m_iommu_map_ro,
    p2m_max_real_type,
} p2m_type_t;
typedef int p2m_access_t;

struct p2m_domain {
    struct page_info *root; /* of the tables: one page, or several side by side */
    gfn_t max_mapped_gfn;   /* the highest frame that was ever mapped */
};

/* Width of guest physical addresses: of every P2M. May be lowered before the first is made. */
extern unsigned int p2m_ipa_bits;
void p2m_restrict_ipa_bits(unsigned int bits);
/* Changes are made with the write lock held. */
void p2m_read_lock(struct p2m_domain *p2m);
void p2m_read_unlock(struct p2m_domain *p2m);
/*
 * Looks a guest's frame up, with the lock held: the machine's frame, type, and the size of the
 * entry or hole that it is in. `access` may be NULL.
 */
mfn_t p2m_get_entry(struct p2m_domain *p2m, gfn_t gfn, p2m_type_t *type, p2m_access_t *access,
                    unsigned int *order, bool *valid);

struct domain {
    uint16_t domain_id;
};
/* In which devices are that nobody is to have. */
extern struct domain *dom_io;
bool is_hardware_domain(const struct domain *d);
struct p2m_domain *p2m_get_hostp2m(struct domain *d);

/* ---- IOMMUs ---- */

/* Flags of map_page: permissions, and the order of the page. */
#define IOMMUF_order(flags) ((flags)&0x3fu)
#define IOMMUF_readable     (1u << 6)
#define IOMMUF_writable     (1u << 7)
/* What has happened, to be flushed. */
#define IOMMU_FLUSHF_added    (1u << 0)
#define IOMMU_FLUSHF_modified (1u << 1)
#define IOMMU_FLUSHF_all      (1u << 2)

/* What Xen knows of a domain's IOMMU; `priv` is the driver's. */
struct domain_iommu {
    struct {
        void *priv;
    } arch;
};
struct domain_iommu *dom_iommu(struct domain *d);
/* Do devices of the domain walk the P2M? Decided after `init`, and then fixed. */
bool iommu_use_hap_pt(const struct domain *d);
/* COHERENT_WALK: the P2M's entries need not be cleaned. */
enum iommu_feature {
    IOMMU_FEAT_COHERENT_WALK,
};
bool iommu_has_feature(struct domain *d, enum iommu_feature feature);
/* Map and unmap in the P2M, for drivers whose devices walk it. */
int arm_iommu_map_page(struct domain *d, dfn_t dfn, mfn_t mfn, unsigned int flags,
                       unsigned int *flush_flags);
int arm_iommu_unmap_page(struct domain *d, dfn_t dfn, unsigned int order,
                         unsigned int *flush_flags);
void arch_iommu_hwdom_init(struct domain *d);

/* A driver. docs/porting-xen.md says when each is called. */
struct iommu_ops {
    unsigned long page_sizes;
    int (*init)(struct domain *d);
    void (*hwdom_init)(struct domain *d);
    int (*add_device)(uint8_t devfn, device_t *dev);
    int (*remove_device)(uint8_t devfn, device_t *dev);
    int (*assign_device)(struct domain *d, uint8_t devfn, device_t *dev, uint32_t flag);
    int (*reassign_device)(struct domain *s, struct domain *t, uint8_t devfn, device_t *dev);
    void (*teardown)(struct domain *d);
    int (*map_page)(struct domain *d, dfn_t dfn, mfn_t mfn, unsigned int flags,
                    unsigned int *flush_flags);
    int (*unmap_page)(struct domain *d, dfn_t dfn, unsigned int order, unsigned int *flush_flags);
    int (*lookup_page)(struct domain *d, dfn_t dfn, mfn_t *mfn, unsigned int *flags);
    int (*suspend)(void);
    void (*resume)(void);
    int (*iotlb_flush)(struct domain *d, dfn_t dfn, unsigned long page_count,
                       unsigned int flush_flags);
    void (*dump_page_tables)(struct domain *d);
    int (*dt_xlate)(device_t *dev, const struct dt_phandle_args *args);
    void (*quiesce)(void);
};
/* The driver of all domains; the first one that sets it. */
void iommu_set_ops(const struct iommu_ops *ops);

#endif
