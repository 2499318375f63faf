/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "unit.h"

static void write_map(struct request *request, uint32_t domain,
                      const struct piommu_backend_mapping *mapping)
{
    uint32_t flags = 0;

    if ((mapping->prot & PIOMMU_PROT_READ) != 0) {
        flags |= MAP_F_READ;
    }
    if ((mapping->prot & PIOMMU_PROT_WRITE) != 0) {
        flags |= MAP_F_WRITE;
    }
    if ((mapping->prot & PIOMMU_PROT_DEVICE) != 0) {
        flags |= MAP_F_MMIO;
    }
    memset(request, 0, sizeof(*request));
    request->size = MAP_SIZE;
    request->bytes[AT_TYPE] = TYPE_MAP;
    piommu_put_le32(request->bytes + MAP_DOMAIN, domain);
    piommu_put_le64(request->bytes + MAP_VIRT_START, mapping->iova.first);
    piommu_put_le64(request->bytes + MAP_VIRT_END, mapping->iova.last);
    piommu_put_le64(request->bytes + MAP_PHYS_START, mapping->physical);
    piommu_put_le32(request->bytes + MAP_FLAGS, flags);
}

/* Turns the core's mappings into MAP requests. */
struct map_source {
    const struct virtio_domain *domain;
    struct piommu_mapping_source *mappings;
};

static bool make_map(void *source, struct request *request)
{
    const struct map_source *map = source;
    struct piommu_backend_mapping mapping;

    if (!map->mappings->next(map->mappings, &mapping)) {
        return false;
    }
    write_map(request, map->domain->number, &mapping);
    return true;
}

int piommu_virtio_iommu_map_(void *unit, void *domain, struct piommu_mapping_source *source)
{
    struct map_source map = {.domain = domain, .mappings = source};

    return piommu_virtio_iommu_send_(unit, make_map, &map);
}

int piommu_virtio_iommu_post_map_(void *unit, void *domain, struct piommu_mapping_source *source,
                                  struct piommu_completion *completion)
{
    struct map_source map = {.domain = domain, .mappings = source};

    return piommu_virtio_iommu_post_(unit, make_map, &map, completion);
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

int piommu_virtio_iommu_post_unmap_(void *unit, void *domain, struct piommu_range_source *source,
                                    struct piommu_completion *completion)
{
    struct unmap_source unmap = {.domain = domain, .ranges = source};

    return piommu_virtio_iommu_post_(unit, make_unmap, &unmap, completion);
}

/* Goes through the gaps between an endpoint's reserved regions. */
struct identity_source {
    const struct virtio_iommu *unit;
    const struct virtio_endpoint *endpoint;
    uint32_t region; /* the next one */
    uint64_t next;   /* address to go on from */
    bool done;
};

static bool make_identity(void *handle, struct request *request)
{
    struct identity_source *source = handle;
    const struct virtio_endpoint *endpoint = source->endpoint;
    uint64_t aperture_last = source->unit->facts.aperture.last;
    struct piommu_backend_mapping mapping = {.prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE};
    bool found = false;

    while (!found && !source->done) {
        bool last = source->region == endpoint->reserved_used;
        struct piommu_range region = {.first = aperture_last, .last = aperture_last};

        if (!last) {
            region = endpoint->reserved[source->region];
        }
        found = last || region.first > source->next;
        mapping.iova.first = source->next;
        mapping.iova.last = last ? aperture_last : region.first - 1;
        source->done = region.last == aperture_last;
        source->next = region.last + 1;
        source->region++;
    }
    if (found) {
        mapping.physical = mapping.iova.first;
        write_map(request, source->endpoint->identity, &mapping);
    }
    return found;
}

int piommu_virtio_iommu_map_identity_(struct virtio_iommu *unit,
                                      const struct virtio_endpoint *endpoint)
{
    struct identity_source source = {
        .unit = unit, .endpoint = endpoint, .next = unit->facts.aperture.first};

    return piommu_virtio_iommu_send_(unit, make_identity, &source);
}
