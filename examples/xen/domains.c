/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Domains: those whose devices walk the P2M, and those whose devices have tables of their own,
 * which are filled from the P2M when the first device comes.
 */

#include "piommu-xen.h"

/* Leaves that are stored with the lock of the P2M held, before others may have it. */
#define POPULATE_BUDGET 512u

static uint64_t address_of(dfn_t dfn)
{
    return (uint64_t)dfn_x(dfn) << PAGE_SHIFT;
}

/* ---- Making them ---- */

int piommu_xen_domain_init(struct domain *d)
{
    struct piommu_xen_domain *domain = xzalloc(struct piommu_xen_domain);

    if (domain == NULL) {
        return -ENOMEM;
    }
    spin_lock_init(&domain->lock);
    piommu_gather_init(&domain->gather);
    domain->d = d;
    dom_iommu(d)->arch.priv = domain;
    return 0;
}

void piommu_xen_domain_teardown(struct domain *d)
{
    struct piommu_xen_domain *domain = dom_iommu(d)->arch.priv;
    int error;

    if (domain == NULL) {
        return;
    }
    spin_lock(&piommu_xen.registration);
    error = piommu_domain_destroy(domain->domain);
    spin_unlock(&piommu_xen.registration);
    if (error != 0) {
        /* Devices may still use the tables: what has to be kept is kept for ever. */
        printk(XENLOG_ERR "piommu: domain %u: %s\n", d->domain_id, piommu_strerror(error));
        return;
    }
    dom_iommu(d)->arch.priv = NULL;
    xfree(domain);
}

/* Permissions of devices where the P2M has this type; 0: none. */
static piommu_prot prot_of(p2m_type_t type)
{
    switch (type) {
    case p2m_ram_rw:
    case p2m_map_foreign_rw:
    case p2m_grant_map_rw:
        return PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    case p2m_ram_ro:
    case p2m_map_foreign_ro:
    case p2m_grant_map_ro:
        return PIOMMU_PROT_READ;
    case p2m_mmio_direct_dev:
        return PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_DEVICE;
    case p2m_mmio_direct_nc:
        return PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_NONCACHEABLE;
    case p2m_mmio_direct_c:
        return PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    default:
        return 0;
    }
}

/* The library asks what a guest has. With the lock of the P2M held, by populate. */
static int next_frames(void *cookie, uint64_t from, struct piommu_frames *frames)
{
    const struct piommu_xen_domain *domain = cookie;
    struct p2m_domain *p2m = p2m_get_hostp2m(domain->d);
    unsigned long gfn = (unsigned long)(from >> PAGE_SHIFT);

    while (gfn <= gfn_x(p2m->max_mapped_gfn)) {
        p2m_type_t type;
        unsigned int order;
        bool valid;
        mfn_t mfn = p2m_get_entry(p2m, _gfn(gfn), &type, NULL, &order, &valid);
        unsigned long inside = gfn & ((1UL << order) - 1);

        if (valid && prot_of(type) != 0) {
            *frames = (struct piommu_frames){
                .iova = (uint64_t)gfn << PAGE_SHIFT,
                .physical = mfn_to_maddr(mfn),
                .size = (uint64_t)((1UL << order) - inside) << PAGE_SHIFT,
                .prot = prot_of(type),
            };
            return 0;
        }
        gfn += (1UL << order) - inside;
    }
    return -PIOMMU_ENOENT;
}

/* The unit whose limits are those of all: the first root. */
static struct piommu_instance *root_instance(void)
{
    for (unsigned int i = 0; i < piommu_xen.unit_count; i++) {
        if (piommu_xen.units[i].is_root) {
            return piommu_xen.units[i].instance;
        }
    }
    return NULL;
}

/* What Xen's stage 2 is; the library refuses it if the units cannot walk such tables. */
static int describe_p2m(struct domain *d, struct piommu_instance *instance,
                        struct piommu_pgtable_config *config)
{
    struct piommu_requirements requirements;
    int error = piommu_requirements_get(&instance, 1, &requirements, NULL);

    if (error == 0) {
        *config = (struct piommu_pgtable_config){
            .format = PIOMMU_ARM_64_LPAE_S2,
            .granule = PAGE_SIZE,
            .input_bits = (uint8_t)p2m_ipa_bits,
            .output_bits = requirements.shared.output_bits,
            .coherent_walk = iommu_has_feature(d, IOMMU_FEAT_COHERENT_WALK),
        };
    }
    return error;
}

/* It takes a hardware context, of which there are few, so it is made with the first device. */
static int create(struct piommu_xen_domain *domain)
{
    struct piommu_instance *instance = root_instance();
    struct piommu_pgtable_config p2m;
    const struct piommu_shared_table shared = {
        .config = &p2m,
        .root = page_to_maddr(p2m_get_hostp2m(domain->d)->root),
    };
    bool shares = iommu_use_hap_pt(domain->d);
    const struct piommu_domain_config config = {
        .type = shares ? PIOMMU_DOMAIN_SHARED : PIOMMU_DOMAIN_DEFERRED,
        .instances = &instance,
        .instance_count = 1,
        .owner = domain->d,
        .shared = shares ? &shared : NULL,
        .next_frames = shares ? NULL : next_frames,
        .frames_cookie = domain,
    };
    struct piommu_domain *made;
    int error = describe_p2m(domain->d, instance, &p2m);

    if (error == 0) {
        error = piommu_domain_create(&config, &made);
    }
    if (error == 0) {
        spin_lock(&domain->lock);
        domain->domain = made;
        spin_unlock(&domain->lock);
    }
    return error;
}

/*
 * A step at a time. Around each of them, and around each change of the P2M together with the
 * map_page or unmap_page that tells it, the lock of the P2M is held: the library knows how far it
 * is, and what is behind that point is told it by those calls.
 */
static int populate(struct piommu_xen_domain *domain)
{
    struct p2m_domain *p2m = p2m_get_hostp2m(domain->d);
    int error;

    do {
        p2m_read_lock(p2m);
        spin_lock(&domain->lock);
        error = piommu_domain_populate(domain->domain, POPULATE_BUDGET);
        spin_unlock(&domain->lock);
        p2m_read_unlock(p2m);
    } while (error == -PIOMMU_EAGAIN);
    return error;
}

int piommu_xen_prepare_domain(struct piommu_xen_domain *domain)
{
    int error = domain->domain == NULL ? create(domain) : 0;

    if (error == 0 && !iommu_use_hap_pt(domain->d)) {
        error = populate(domain);
    }
    return piommu_xen_error(error);
}

/* ---- Tables of their own ---- */

/* Nothing may be mapped where something was unmapped and is not flushed yet. */
static int sync_before(struct piommu_xen_domain *domain, uint64_t first, uint64_t last)
{
    const struct piommu_gather *gather = &domain->gather;

    if (!gather->pending || last < gather->range.first || first > gather->range.last) {
        return 0;
    }
    return piommu_domain_sync(domain->domain, &domain->gather);
}

/* Xen maps over what is mapped: a moment in which DMA there fails is what it takes. */
static int map(struct piommu_xen_domain *domain, uint64_t iova, uint64_t physical, uint64_t size,
               piommu_prot prot)
{
    int error = sync_before(domain, iova, iova + (size - 1));

    if (error == 0) {
        error = piommu_domain_map(domain->domain, iova, physical, size, prot);
    }
    if (error == -PIOMMU_EEXIST) {
        error = piommu_domain_replace(domain->domain, iova, physical, size, prot, PIOMMU_ALLOW_HOLE,
                                      NULL);
    }
    return error;
}

int piommu_xen_map_page(struct domain *d, dfn_t dfn, mfn_t mfn, unsigned int flags,
                        unsigned int *flush_flags)
{
    struct piommu_xen_domain *domain = dom_iommu(d)->arch.priv;
    piommu_prot prot = ((flags & IOMMUF_readable) != 0 ? PIOMMU_PROT_READ : 0) |
                       ((flags & IOMMUF_writable) != 0 ? PIOMMU_PROT_WRITE : 0);
    int error = 0;

    if (iommu_use_hap_pt(d)) {
        return arm_iommu_map_page(d, dfn, mfn, flags, flush_flags);
    }
    spin_lock(&domain->lock);
    if (domain->domain != NULL) {
        error = map(domain, address_of(dfn), mfn_to_maddr(mfn),
                    (uint64_t)PAGE_SIZE << IOMMUF_order(flags), prot);
    }
    spin_unlock(&domain->lock);
    *flush_flags |= IOMMU_FLUSHF_added;
    return piommu_xen_error(error);
}

/* Xen unmaps parts of what it has mapped; and what is not there. */
static int unmap(struct piommu_xen_domain *domain, uint64_t iova, uint64_t size)
{
    int error = piommu_domain_unmap(domain->domain, iova, size, &domain->gather, NULL);

    if (error == -PIOMMU_ECUT) {
        error = piommu_domain_unmap_cut(domain->domain, iova, size, PIOMMU_ALLOW_HOLE, NULL);
    }
    return error == -PIOMMU_ENOENT ? 0 : error;
}

int piommu_xen_unmap_page(struct domain *d, dfn_t dfn, unsigned int order,
                          unsigned int *flush_flags)
{
    struct piommu_xen_domain *domain = dom_iommu(d)->arch.priv;
    int error = 0;

    if (iommu_use_hap_pt(d)) {
        return arm_iommu_unmap_page(d, dfn, order, flush_flags);
    }
    spin_lock(&domain->lock);
    if (domain->domain != NULL) {
        error = unmap(domain, address_of(dfn), (uint64_t)PAGE_SIZE << IOMMUF_order(order));
    }
    spin_unlock(&domain->lock);
    *flush_flags |= IOMMU_FLUSHF_modified;
    return piommu_xen_error(error);
}

int piommu_xen_lookup_page(struct domain *d, dfn_t dfn, mfn_t *mfn, unsigned int *flags)
{
    struct piommu_xen_domain *domain = dom_iommu(d)->arch.priv;
    struct piommu_translation found;
    int error = -PIOMMU_ENOENT;

    if (iommu_use_hap_pt(d)) {
        return -EOPNOTSUPP;
    }
    spin_lock(&domain->lock);
    if (domain->domain != NULL) {
        error = piommu_domain_lookup(domain->domain, address_of(dfn), &found);
    }
    spin_unlock(&domain->lock);
    if (error == 0) {
        *mfn = maddr_to_mfn(found.physical);
        *flags = ((found.prot & PIOMMU_PROT_READ) != 0 ? IOMMUF_readable : 0) |
                 ((found.prot & PIOMMU_PROT_WRITE) != 0 ? IOMMUF_writable : 0);
    }
    return piommu_xen_error(error);
}

/* ---- Flushing ---- */

static int invalidate(struct piommu_xen_domain *domain, dfn_t dfn, unsigned long page_count,
                      unsigned int flush_flags)
{
    uint64_t first = address_of(dfn);
    uint64_t last = first + ((uint64_t)page_count << PAGE_SHIFT) - 1;

    if ((flush_flags & IOMMU_FLUSHF_all) != 0 || page_count == 0 || last < first) {
        return piommu_domain_invalidate(domain->domain, 0, UINT64_MAX);
    }
    return piommu_domain_invalidate(domain->domain, first, last);
}

/* What was added only, no unit has kept. */
int piommu_xen_iotlb_flush(struct domain *d, dfn_t dfn, unsigned long page_count,
                           unsigned int flush_flags)
{
    struct piommu_xen_domain *domain = dom_iommu(d)->arch.priv;
    int error = 0;

    if (domain == NULL || (flush_flags & (IOMMU_FLUSHF_modified | IOMMU_FLUSHF_all)) == 0) {
        return 0;
    }
    spin_lock(&domain->lock);
    if (domain->domain != NULL && iommu_use_hap_pt(d)) {
        error = invalidate(domain, dfn, page_count, flush_flags);
    } else if (domain->domain != NULL) {
        error = piommu_domain_sync(domain->domain, &domain->gather);
    }
    spin_unlock(&domain->lock);
    return piommu_xen_error(error);
}

/* ---- Looking ---- */

static void print(void *cookie, const char *line)
{
    (void)cookie;
    printk("%s\n", line);
}

void piommu_xen_dump_page_tables(struct domain *d)
{
    struct piommu_xen_domain *domain = dom_iommu(d)->arch.priv;

    spin_lock(&domain->lock);
    if (domain->domain == NULL) {
        printk("d%u has no device behind an IPMMU\n", d->domain_id);
    } else {
        /* The P2M itself is not the library's to print. */
        (void)piommu_domain_dump(domain->domain, 0, UINT64_MAX, print, NULL);
    }
    spin_unlock(&domain->lock);
}
