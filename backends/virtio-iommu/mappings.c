/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "unit.h"

/* Turns the core's mappings into MAP requests. */
struct map_source {
    const struct virtio_domain *domain;
    struct piommu_mapping_source *mappings;
};

static bool make_map(void *source, struct request *request)
{
    const struct map_source *map = source;
    struct piommu_backend_mapping mapping;
    uint32_t flags = 0;

    if (!map->mappings->next(map->mappings, &mapping)) {
        return false;
    }
    if ((mapping.prot & PIOMMU_PROT_READ) != 0) {
        flags |= MAP_F_READ;
    }
    if ((mapping.prot & PIOMMU_PROT_WRITE) != 0) {
        flags |= MAP_F_WRITE;
    }
    if ((mapping.prot & PIOMMU_PROT_DEVICE) != 0) {
        flags |= MAP_F_MMIO;
    }
    memset(request, 0, sizeof(*request));
    request->size = MAP_SIZE;
    request->bytes[AT_TYPE] = TYPE_MAP;
    piommu_put_le32(request->bytes + MAP_DOMAIN, map->domain->number);
    piommu_put_le64(request->bytes + MAP_VIRT_START, mapping.iova.first);
    piommu_put_le64(request->bytes + MAP_VIRT_END, mapping.iova.last);
    piommu_put_le64(request->bytes + MAP_PHYS_START, mapping.physical);
    piommu_put_le32(request->bytes + MAP_FLAGS, flags);
    return true;
}

int piommu_virtio_iommu_map_(void *unit, void *domain, struct piommu_mapping_source *source)
{
    struct map_source map = {.domain = domain, .mappings = source};

    return piommu_virtio_iommu_send_(unit, make_map, &map);
}

/* Turns the core's ranges into UNMAP requests. */
struct unmap_source {
    const struct virtio_domain *domain;
    struct piommu_range_source *ranges;
};

static bool make_unmap(void *source, struct request *request)
{
    const struct unmap_source *unmap = source;
    struct piommu_range range;

    if (!unmap->ranges->next(unmap->ranges, &range)) {
        return false;
    }
    memset(request, 0, sizeof(*request));
    request->size = UNMAP_SIZE;
    request->bytes[AT_TYPE] = TYPE_UNMAP;
    piommu_put_le32(request->bytes + UNMAP_DOMAIN, unmap->domain->number);
    piommu_put_le64(request->bytes + UNMAP_VIRT_START, range.first);
    piommu_put_le64(request->bytes + UNMAP_VIRT_END, range.last);
    return true;
}

int piommu_virtio_iommu_unmap_(void *unit, void *domain, struct piommu_range_source *source)
{
    struct unmap_source unmap = {.domain = domain, .ranges = source};

    return piommu_virtio_iommu_send_(unit, make_unmap, &unmap);
}
