/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "xen_host.h"

#include "expect.h"

#include <stdlib.h>
#include <string.h>

#define HEAP_PAGES 128u
#define HEAP_ALIGN 0x100000u
/* What a mask of interrupts looks like. */
#define MASK 0x3c0ul
/* A handler that is called so often without effect would be called for ever. */
#define STORM 8u

static struct {
    struct piommu_ipmmu_model *model;
    struct xen_host_node *prr;
    bool masked;
    bool in_handler;
    unsigned int spinning; /* locks that do not mask interrupts */
    bool p2m_reading;
    bool p2m_writing;
    bool shares;
    const struct xen_host_frames *frames;
    size_t frame_count;
    size_t objects;
    unsigned int fail_allocation;
    bool taken[HEAP_PAGES];
    unsigned int maps;
    s_time_t now;
    void (*handler)(int irq, void *dev);
    void *handler_dev;
    unsigned int irq;
    struct tasklet *scheduled;
    void *tasklet_data;
    void (*unmasked)(void *ctx);
    void *unmasked_ctx;
    const struct iommu_ops *ops;
    struct domain_iommu iommu[XEN_HOST_DOMAINS];
    struct p2m_domain p2m;
    struct xen_host_counters counters;
} host;

static _Alignas(HEAP_ALIGN) unsigned char heap[HEAP_PAGES * PAGE_SIZE];

unsigned int p2m_ipa_bits = 48;
static struct domain io = {.domain_id = 3};
struct domain *dom_io = &io;

/* ---- For tests ---- */

void xen_host_start(struct piommu_ipmmu_model *model, struct xen_host_node *prr)
{
    memset(&host, 0, sizeof(host));
    host.model = model;
    host.prr = prr;
    host.shares = true;
    p2m_ipa_bits = 48;
}

void xen_host_assert_idle(void)
{
    EXPECT(!host.masked && host.spinning == 0 && !host.p2m_reading && !host.p2m_writing);
    EXPECT(host.objects == 0);
    EXPECT(host.maps == 0);
    EXPECT(host.scheduled == NULL);
    for (unsigned int i = 0; i < HEAP_PAGES; i++) {
        EXPECT(!host.taken[i]);
    }
}

struct xen_host_counters xen_host_counters(void)
{
    return host.counters;
}

void xen_host_share(bool shares)
{
    host.shares = shares;
}

void xen_host_set_p2m(const struct xen_host_frames *frames, size_t count)
{
    host.frames = frames;
    host.frame_count = count;
    host.p2m.max_mapped_gfn = _gfn(0);
    for (size_t i = 0; i < count; i++) {
        unsigned long last = frames[i].gfn + (1ul << frames[i].order) - 1;

        if (last > gfn_x(host.p2m.max_mapped_gfn)) {
            host.p2m.max_mapped_gfn = _gfn(last);
        }
    }
}

void xen_host_lock_p2m(bool locked)
{
    EXPECT(host.p2m_writing != locked && !host.p2m_reading);
    host.p2m_writing = locked;
}

/* A page is what knows its address. */
struct page_info {
    paddr_t address;
};
static struct page_info root_page;

void xen_host_set_root(paddr_t root)
{
    root_page.address = root;
    host.p2m.root = &root_page;
}

void xen_host_fail_allocation(unsigned int kth)
{
    host.fail_allocation = kth;
}

bool xen_host_interrupt(void)
{
    unsigned int rounds = 0;

    EXPECT(!host.masked && !host.in_handler);
    while (piommu_ipmmu_model_interrupt(host.model, 0)) {
        if (host.handler == NULL || rounds++ == STORM) {
            return false;
        }
        host.in_handler = true;
        host.masked = true;
        host.handler((int)host.irq, host.handler_dev);
        host.masked = false;
        host.in_handler = false;
    }
    return true;
}

bool xen_host_run_tasklet(void)
{
    struct tasklet *tasklet = host.scheduled;

    EXPECT(!host.masked && host.spinning == 0);
    host.scheduled = NULL;
    if (tasklet != NULL) {
        tasklet->function(host.tasklet_data);
    }
    return tasklet != NULL;
}

void xen_host_on_unmask(void (*callback)(void *ctx), void *ctx)
{
    host.unmasked = callback;
    host.unmasked_ctx = ctx;
}

static paddr_t maddr_of(const void *memory)
{
    return XEN_HOST_HEAP + (paddr_t)((const unsigned char *)memory - heap);
}

bool xen_host_read64(void *ctx, uint64_t physical, uint64_t *value)
{
    (void)ctx;
    *value = 0;
    if (physical < XEN_HOST_HEAP || physical - XEN_HOST_HEAP > sizeof(heap) - sizeof(*value)) {
        return false;
    }
    for (unsigned int i = 0; i < sizeof(*value); i++) {
        *value |= (uint64_t)heap[physical - XEN_HOST_HEAP + i] << 8 * i;
    }
    return true;
}

/* ---- Numbers ---- */

gfn_t _gfn(unsigned long number)
{
    return (gfn_t){number};
}

unsigned long gfn_x(gfn_t gfn)
{
    return gfn.number;
}

uint64_t dfn_x(dfn_t dfn)
{
    return dfn.number;
}

paddr_t mfn_to_maddr(mfn_t mfn)
{
    return (paddr_t)mfn.number << PAGE_SHIFT;
}

mfn_t maddr_to_mfn(paddr_t address)
{
    return (mfn_t){(unsigned long)(address >> PAGE_SHIFT)};
}

/* ---- Locks, time, log ---- */

void spin_lock_init(spinlock_t *lock)
{
    lock->held = 0;
}

void spin_lock(spinlock_t *lock)
{
    EXPECT(lock->held == 0 && !host.in_handler);
    lock->held = 1;
    host.spinning++;
}

void spin_unlock(spinlock_t *lock)
{
    EXPECT(lock->held == 1 && host.spinning != 0);
    lock->held = 0;
    host.spinning--;
}

static void unmask(unsigned long flags)
{
    host.masked = flags != 0;
    if (!host.masked && host.unmasked != NULL) {
        host.unmasked(host.unmasked_ctx);
    }
}

unsigned long foreign_irq_save(void)
{
    unsigned long flags = host.masked ? MASK : 0;

    host.masked = true;
    return flags;
}

void local_irq_restore(unsigned long flags)
{
    EXPECT(host.masked);
    unmask(flags);
}

unsigned long foreign_spin_lock_irqsave(spinlock_t *lock)
{
    EXPECT(lock->held == 0);
    lock->held = 1;
    return foreign_irq_save();
}

void spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
    EXPECT(lock->held == 1 && host.masked);
    lock->held = 0;
    unmask(flags);
}

s_time_t NOW(void)
{
    host.now += 1000;
    return host.now;
}

void cpu_relax(void)
{
}

unsigned int smp_processor_id(void)
{
    return 0;
}

void printk(const char *format, ...)
{
    EXPECT(format != NULL);
    host.counters.lines++;
}

static void barrier(void)
{
    piommu_ipmmu_model_barrier(host.model);
}

void mb(void)
{
    barrier();
}

void rmb(void)
{
}

void wmb(void)
{
    barrier();
}

/* ---- Memory ---- */

static bool may_have_memory(void)
{
    EXPECT(!host.masked && !host.in_handler);
    return host.fail_allocation == 0 || --host.fail_allocation != 0;
}

void *xmalloc_bytes(size_t size)
{
    void *memory = may_have_memory() ? malloc(size) : NULL;

    if (memory != NULL) {
        memset(memory, 0xa5, size);
        host.objects++;
    }
    return memory;
}

void *foreign_xzalloc(size_t size)
{
    void *memory = xmalloc_bytes(size);

    if (memory != NULL) {
        memset(memory, 0, size);
    }
    return memory;
}

void xfree(void *memory)
{
    EXPECT(!host.masked && !host.in_handler);
    host.objects -= memory != NULL;
    free(memory);
}

void *alloc_xenheap_pages(unsigned int order, unsigned int flags)
{
    unsigned int count = 1u << order;

    host.counters.heap_bits = flags >> 24;
    if (!may_have_memory()) {
        return NULL;
    }
    for (unsigned int i = 0; i + count <= HEAP_PAGES; i += count) {
        bool is_free = true;

        for (unsigned int j = i; j < i + count; j++) {
            is_free = is_free && !host.taken[j];
        }
        if (is_free) {
            memset(&host.taken[i], true, count);
            memset(heap + i * PAGE_SIZE, 0xa5, count * PAGE_SIZE);
            return heap + i * PAGE_SIZE;
        }
    }
    return NULL;
}

void free_xenheap_pages(void *memory, unsigned int order)
{
    size_t first = (size_t)((unsigned char *)memory - heap) / PAGE_SIZE;

    EXPECT(!host.masked);
    for (size_t i = first; i < first + (1u << order); i++) {
        EXPECT(host.taken[i]);
        host.taken[i] = false;
    }
    EXPECT(!piommu_ipmmu_model_table_reaches(host.model, maddr_of(memory), PAGE_SIZE << order));
}

unsigned int get_order_from_bytes(paddr_t size)
{
    unsigned int order = 0;

    while (PAGE_SIZE << order < size) {
        order++;
    }
    return order;
}

paddr_t foreign_virt_to_maddr(const void *memory)
{
    return maddr_of(memory);
}

int clean_dcache_va_range(const void *memory, unsigned long size)
{
    piommu_ipmmu_model_clean(host.model, maddr_of(memory), size);
    return 0;
}

paddr_t page_to_maddr(const struct page_info *page)
{
    return page != NULL ? page->address : 0;
}

void *ioremap_nocache(paddr_t address, size_t size)
{
    EXPECT(size != 0);
    host.maps++;
    return (void *)(uintptr_t)address;
}

void iounmap(void *registers)
{
    EXPECT(registers != NULL && host.maps != 0);
    host.maps--;
}

uint32_t readl(const volatile void *address)
{
    return piommu_ipmmu_model_read(host.model, (uintptr_t)address, 4);
}

void writel(uint32_t value, volatile void *address)
{
    piommu_ipmmu_model_write(host.model, (uintptr_t)address, 4, value);
}

/* ---- Interrupts ---- */

int request_irq(unsigned int irq, unsigned int flags, void (*handler)(int irq, void *dev),
                const char *name, void *dev)
{
    EXPECT(host.handler == NULL && flags == 0 && name != NULL);
    host.handler = handler;
    host.handler_dev = dev;
    host.irq = irq;
    return 0;
}

void release_irq(unsigned int irq, const void *dev)
{
    EXPECT(host.handler != NULL && irq == host.irq && dev == host.handler_dev);
    host.handler = NULL;
}

void tasklet_init(struct tasklet *tasklet, void (*function)(void *data), void *data)
{
    tasklet->function = function;
    host.tasklet_data = data;
}

void tasklet_schedule(struct tasklet *tasklet)
{
    host.scheduled = tasklet;
}

/* ---- The device tree ---- */

static const struct xen_host_node *node_of(const struct dt_device_node *node)
{
    return (const struct xen_host_node *)node;
}

bool dev_is_dt(const device_t *dev)
{
    return dev->type == DEV_DT;
}

struct dt_device_node *dev_to_dt(device_t *dev)
{
    return (struct dt_device_node *)dev;
}

const char *dt_node_name(const struct dt_device_node *node)
{
    return node_of(node)->name;
}

const char *dt_node_full_name(const struct dt_device_node *node)
{
    return node_of(node)->name;
}

bool dt_device_is_compatible(const struct dt_device_node *node, const char *compatible)
{
    return strcmp(node_of(node)->compatible, compatible) == 0;
}

struct dt_device_node *dt_find_compatible_node(struct dt_device_node *from, const char *type,
                                               const char *compatible)
{
    EXPECT(from == NULL && type == NULL && strcmp(compatible, host.prr->compatible) == 0);
    return &host.prr->node;
}

struct dt_device_node *dt_parse_phandle(const struct dt_device_node *node, const char *property,
                                        int index)
{
    EXPECT(strcmp(property, "renesas,ipmmu-main") == 0 && index == 0);
    return node_of(node)->main != NULL ? &node_of(node)->main->node : NULL;
}

int dt_device_get_paddr(const struct dt_device_node *node, unsigned int index, paddr_t *address,
                        paddr_t *size)
{
    EXPECT(index == 0 && size == NULL);
    *address = node_of(node)->reg;
    return 0;
}

int platform_get_irq(const struct dt_device_node *node, int index)
{
    EXPECT(index == 0);
    return node_of(node)->irq;
}

void dt_device_set_protected(struct dt_device_node *node)
{
    node->is_protected = true;
}

void dt_device_set_used_by(struct dt_device_node *node, uint16_t domid)
{
    EXPECT(node != NULL && domid == DOMID_XEN);
}

/* ---- Domains ---- */

void p2m_restrict_ipa_bits(unsigned int bits)
{
    if (bits < p2m_ipa_bits) {
        p2m_ipa_bits = bits;
    }
}

/* The lock of a P2M comes before that of the glue's domains, and behind that of registration. */
void p2m_read_lock(struct p2m_domain *p2m)
{
    EXPECT(p2m == &host.p2m && !host.p2m_reading && !host.p2m_writing && host.spinning <= 1);
    host.p2m_reading = true;
    host.counters.p2m_locks++;
}

void p2m_read_unlock(struct p2m_domain *p2m)
{
    EXPECT(p2m == &host.p2m && host.p2m_reading);
    host.p2m_reading = false;
}

mfn_t p2m_get_entry(struct p2m_domain *p2m, gfn_t gfn, p2m_type_t *type, p2m_access_t *access,
                    unsigned int *order, bool *valid)
{
    EXPECT(p2m == &host.p2m && (host.p2m_reading || host.p2m_writing) && access == NULL);
    host.counters.invocations++;
    *valid = false;
    *order = 0;
    for (size_t i = 0; i < host.frame_count; i++) {
        const struct xen_host_frames *frames = &host.frames[i];

        if (gfn_x(gfn) - frames->gfn < 1ul << frames->order) {
            *type = frames->type;
            *order = frames->order;
            *valid = true;
            return (mfn_t){frames->mfn + (gfn_x(gfn) - frames->gfn)};
        }
    }
    return (mfn_t){~0ul};
}

bool is_hardware_domain(const struct domain *d)
{
    return d->domain_id == 0;
}

struct p2m_domain *p2m_get_hostp2m(struct domain *d)
{
    EXPECT(d != NULL);
    return &host.p2m;
}

struct domain_iommu *dom_iommu(struct domain *d)
{
    EXPECT(d->domain_id < XEN_HOST_DOMAINS);
    return &host.iommu[d->domain_id];
}

bool iommu_use_hap_pt(const struct domain *d)
{
    EXPECT(d != NULL);
    return host.shares;
}

bool iommu_has_feature(struct domain *d, enum iommu_feature feature)
{
    EXPECT(d != NULL && feature == IOMMU_FEAT_COHERENT_WALK);
    return false;
}

/* The test itself changes the tables of the P2M. */
int arm_iommu_map_page(struct domain *d, dfn_t dfn, mfn_t mfn, unsigned int flags,
                       unsigned int *flush_flags)
{
    EXPECT(d != NULL && dfn_x(dfn) != 0 && mfn.number != 0 && flags != 0 && flush_flags != NULL);
    return 0;
}

int arm_iommu_unmap_page(struct domain *d, dfn_t dfn, unsigned int order, unsigned int *flush_flags)
{
    EXPECT(d != NULL && dfn_x(dfn) != 0 && order < 64 && flush_flags != NULL);
    return 0;
}

void arch_iommu_hwdom_init(struct domain *d)
{
    EXPECT(is_hardware_domain(d));
}

void iommu_set_ops(const struct iommu_ops *ops)
{
    host.ops = ops;
}

const struct iommu_ops *xen_host_ops(void)
{
    return host.ops;
}
