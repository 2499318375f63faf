/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_XEN_H
#define PIOMMU_XEN_H

/*
 * What the parts of the glue share. docs/porting-xen.md says what each member of iommu_ops may
 * assume. Locks, from the outermost in: those of the caller, piommu_xen.registration, the lock of
 * a P2M, piommu_xen_domain.lock, the library's own.
 */

#include <piommu/ipmmu-vmsa.h>
#include <piommu/piommu.h>

#include <xen/device_tree.h>
#include <xen/errno.h>
#include <xen/iommu.h>
#include <xen/irq.h>
#include <xen/lib.h>
#include <xen/mm.h>
#include <xen/sched.h>
#include <xen/spinlock.h>
#include <xen/tasklet.h>
#include <xen/time.h>
#include <xen/xmalloc.h>

#include <asm/device.h>
#include <asm/io.h>
#include <asm/iommu.h>
#include <asm/p2m.h>
#include <asm/page.h>
#include <asm/system.h>

/* ---- The whole (units.c) ---- */

/* R-Car H3 has most: one root and 16 cache units. */
#define PIOMMU_XEN_MAX_UNITS 20u

/* A unit of the IPMMU: a node of the device tree, whose address is its key. */
struct piommu_xen_unit {
    struct piommu_ipmmu_vmsa_config config;
    struct piommu_instance *instance;
    const struct dt_device_node *node;
    bool is_root;
    unsigned int irq; /* of a root */
    struct tasklet service;
};

struct piommu_xen {
    spinlock_t registration; /* what context.h calls Registration */
    struct piommu_context *context;
    struct piommu_xen_unit units[PIOMMU_XEN_MAX_UNITS];
    unsigned int unit_count;
    struct piommu_xen_device *devices; /* those that were added */
};

extern struct piommu_xen piommu_xen;

/* An error of the library as one of Xen's. */
int piommu_xen_error(int error);

/* ---- The shim (port.c) ---- */

struct piommu_host piommu_xen_host(void);

/* ---- Devices (devices.c) ---- */

/* A master: what `iommu` of its struct device points to. */
struct piommu_xen_device {
    struct piommu_xen_device *next;
    struct piommu_device *device; /* NULL: not added yet */
    struct domain *owner;         /* to whom it is assigned; NULL: to nobody, it is blocked */
    unsigned int id_count;
    struct piommu_device_id ids[PIOMMU_DEVICE_MAX_IDS];
};

int piommu_xen_dt_xlate(device_t *dev, const struct dt_phandle_args *spec);
int piommu_xen_add_device(uint8_t devfn, device_t *dev);
int piommu_xen_remove_device(uint8_t devfn, device_t *dev);
int piommu_xen_assign_device(struct domain *d, uint8_t devfn, device_t *dev, uint32_t flag);
int piommu_xen_reassign_device(struct domain *s, struct domain *t, uint8_t devfn, device_t *dev);

/* ---- Domains (domains.c) ---- */

/* What dom_iommu(d)->arch.priv points to. */
struct piommu_xen_domain {
    spinlock_t lock; /* what context.h calls Mapping */
    struct domain *d;
    struct piommu_domain *domain; /* NULL: it had no device yet */
    struct piommu_gather gather;  /* unmapped, and not flushed yet */
};

/*
 * Makes the domain ready for a device: what there was to be known of the guest's memory is in its
 * tables. With the lock of registration held, and that of the domain not.
 */
int piommu_xen_prepare_domain(struct piommu_xen_domain *domain);

int piommu_xen_domain_init(struct domain *d);
void piommu_xen_domain_teardown(struct domain *d);
int piommu_xen_map_page(struct domain *d, dfn_t dfn, mfn_t mfn, unsigned int flags,
                        unsigned int *flush_flags);
int piommu_xen_unmap_page(struct domain *d, dfn_t dfn, unsigned int order,
                          unsigned int *flush_flags);
int piommu_xen_lookup_page(struct domain *d, dfn_t dfn, mfn_t *mfn, unsigned int *flags);
int piommu_xen_iotlb_flush(struct domain *d, dfn_t dfn, unsigned long page_count,
                           unsigned int flush_flags);
void piommu_xen_dump_page_tables(struct domain *d);

#endif
