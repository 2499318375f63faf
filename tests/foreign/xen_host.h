/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef XEN_HOST_H
#define XEN_HOST_H

/**
 * @file xen_host.h
 * Stands in for Xen: does what tests/package/foreign-headers/xen promises, and ends the test when a
 * caller breaks what is asked of him there. One CPU. Registers, caches and barriers are a model's.
 */

#include <foreign-xen.h>

#include <piommu/models/ipmmu-vmsa.h>

/** Where the heap is, as the machine sees it. */
#define XEN_HOST_HEAP 0x48000000ull
/** Domains have numbers below this. */
#define XEN_HOST_DOMAINS 4u

/** A node of the device tree. */
struct xen_host_node {
    struct dt_device_node node; /**< the first member */
    const char *name;
    const char *compatible;
    paddr_t reg;
    struct xen_host_node *main; /**< the root of a cache unit */
    int irq;
};

/** A piece of a guest's memory: 2^order frames. */
struct xen_host_frames {
    unsigned long gfn;
    unsigned long mfn;
    unsigned int order;
    p2m_type_t type;
};

/** Since xen_host_start. */
struct xen_host_counters {
    unsigned int lines;       /**< of the log */
    unsigned int invocations; /**< of p2m_get_entry */
    unsigned int p2m_locks;
    unsigned int heap_bits; /**< of the last request for pages; 0: any */
};

/** Nothing is there yet. `model` gets what is for hardware; `prr` is the only node to be found. */
void xen_host_start(struct piommu_ipmmu_model *model, struct xen_host_node *prr);
/** Fails the test if anything was taken and not given back. */
void xen_host_assert_idle(void);
struct xen_host_counters xen_host_counters(void);

/** What was set by iommu_set_ops. */
const struct iommu_ops *xen_host_ops(void);

/** Whether domains share their P2M. */
void xen_host_share(bool shares);
/** What each domain's P2M says; may change between calls. */
void xen_host_set_p2m(const struct xen_host_frames *frames, size_t count);
/** The P2M is locked for writing, by the test. */
void xen_host_lock_p2m(bool locked);
/** Where the root of each P2M is. */
void xen_host_set_root(paddr_t root);

/** The kth allocation from now on finds no memory; 0: all do. */
void xen_host_fail_allocation(unsigned int kth);
/** Calls the handler as long as the line is up. False: it does not stop, or is not there. */
bool xen_host_interrupt(void);
/** Runs the tasklet that was scheduled. False: there was none. */
bool xen_host_run_tasklet(void);
/** Called whenever interrupts are on again. */
void xen_host_on_unmask(void (*callback)(void *ctx), void *ctx);

/** What is in the heap. False: that address is not there. */
bool xen_host_read64(void *ctx, uint64_t physical, uint64_t *value);

#endif
