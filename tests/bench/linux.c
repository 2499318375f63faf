/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Linux's page tables, called as its IOMMU layer and a driver call them: one page size at a time,
 * and again where a table ends; the gather is filled page by page, as the driver for SMMUv3 does.
 */

#include <linux/io-pgtable.h>

#include "bench.h"

struct linux_table {
    struct io_pgtable_ops *ops;
    struct iommu_domain domain;
    struct device device;
};

static void sync_domain(struct iommu_domain *domain, struct iommu_iotlb_gather *gather)
{
    invalidate(domain, gather->start, gather->end);
}

static const struct iommu_domain_ops domain_ops = {
    .iotlb_sync = sync_domain,
};

static void flush_all(void *cookie)
{
    invalidate(cookie, 0, UINT64_MAX);
}

static void flush_walk(unsigned long iova, size_t size, size_t granule, void *cookie)
{
    (void)granule;
    invalidate(cookie, iova, iova + size - 1);
}

static void add_page(struct iommu_iotlb_gather *gather, unsigned long iova, size_t granule,
                     void *cookie)
{
    iommu_iotlb_gather_add_page(cookie, gather, iova, granule);
}

static const struct iommu_flush_ops flush_ops = {
    .tlb_flush_all = flush_all,
    .tlb_flush_walk = flush_walk,
    .tlb_add_page = add_page,
};

static bool linux_can(const struct usage *usage)
{
    (void)usage;
    return true;
}

static void *linux_create(const struct shape *shape, const struct usage *usage)
{
    struct linux_table *table = pool_alloc_object(sizeof(*table));
    struct io_pgtable_cfg config = {
        .pgsize_bitmap =
            (1ul << shape->granule_shift) | (shape->granule_shift == 12 ? SZ_2M | SZ_1G : SZ_512M),
        .ias = shape->input_bits,
        .oas = 48,
        .coherent_walk = usage->coherent_walk,
        .tlb = &flush_ops,
        .iommu_dev = &table->device,
    };

    table->device.node = NUMA_NO_NODE;
    table->domain.ops = &domain_ops;
    table->ops = alloc_io_pgtable_ops(shape->stage2 ? ARM_64_LPAE_S2 : ARM_64_LPAE_S1, &config,
                                      &table->domain);
    if (table->ops == NULL) {
        wrong("Linux: a table %s cannot be created", shape->name);
    }
    return table;
}

static void linux_destroy(void *cookie)
{
    struct linux_table *table = cookie;

    free_io_pgtable_ops(table->ops);
    pool_free_object(table);
}

static bool linux_map(void *cookie, uint64_t iova, uint64_t physical, uint64_t page, size_t count)
{
    struct linux_table *table = cookie;
    size_t done = 0;

    do {
        size_t mapped = 0;

        if (table->ops->map_pages(table->ops, iova + done, physical + done, page,
                                  count - done / page, IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE,
                                  GFP_KERNEL, &mapped) != 0) {
            return false;
        }
        done += mapped;
    } while (done < count * page);
    return true;
}

static bool unmap_pages(struct linux_table *table, uint64_t iova, uint64_t page, size_t count,
                        struct iommu_iotlb_gather *gather)
{
    size_t done = 0;

    iommu_iotlb_gather_init(gather);
    do {
        size_t unmapped =
            table->ops->unmap_pages(table->ops, iova + done, page, count - done / page, gather);

        if (unmapped == 0) {
            return false;
        }
        done += unmapped;
    } while (done < count * page);
    return true;
}

static bool linux_unmap(void *cookie, uint64_t iova, uint64_t page, size_t count)
{
    struct linux_table *table = cookie;
    struct iommu_iotlb_gather gather;

    if (!unmap_pages(table, iova, page, count, &gather)) {
        return false;
    }
    iommu_iotlb_sync(&table->domain, &gather);
    return true;
}

bool linux_unmap_lazily(void *cookie, uint64_t iova, uint64_t page, size_t count)
{
    struct iommu_iotlb_gather gather;

    return unmap_pages(cookie, iova, page, count, &gather);
}

void linux_flush(void *cookie)
{
    struct linux_table *table = cookie;

    flush_all(&table->domain);
}

static uint64_t linux_lookup(void *cookie, uint64_t iova)
{
    struct linux_table *table = cookie;

    return table->ops->iova_to_phys(table->ops, iova);
}

const struct implementation linux_peer = {
    .name = "Linux",
    .can = linux_can,
    .create = linux_create,
    .destroy = linux_destroy,
    .map = linux_map,
    .unmap = linux_unmap,
    .lookup = linux_lookup,
};
