/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Endpoints: in which domain they are, and what PROBE tells of them. */

#include "engine.h"

#define PROPERTY_RESV_MEM 1u
#define PROPERTY_HEAD     4u
#define RESV_MEM_SIZE     20u
#define RESV_MEM_RESERVED 0u
#define RESV_MEM_MSI      1u

static struct piommu_viommu_endpoint *endpoint_of(struct range_node *node)
{
    return node != NULL ? RANGE_TREE_ENTRY(node, struct piommu_viommu_endpoint, node) : NULL;
}

struct piommu_viommu_endpoint *piommu_viommu_find_endpoint_(const struct piommu_viommu *viommu,
                                                            uint32_t id)
{
    struct piommu_viommu_endpoint *endpoint =
        endpoint_of(piommu_range_tree_from_(&viommu->endpoints, id));

    return endpoint != NULL && endpoint->node.first == id ? endpoint : NULL;
}

int piommu_viommu_park_(struct piommu_viommu_endpoint *endpoint)
{
    const struct piommu_viommu *viommu = endpoint->viommu;

    if (endpoint->device == NULL) {
        return 0;
    }
    if (viommu->is_bypassed && viommu->config.bypass != NULL) {
        return piommu_device_attach(endpoint->device, viommu->config.bypass);
    }
    return piommu_device_detach(endpoint->device);
}

int piommu_viommu_park_all_(struct piommu_viommu *viommu)
{
    int result = 0;

    for (struct range_node *node = piommu_range_tree_from_(&viommu->endpoints, 0); node != NULL;
         node = piommu_range_tree_next_(node)) {
        struct piommu_viommu_endpoint *endpoint =
            RANGE_TREE_ENTRY(node, struct piommu_viommu_endpoint, node);
        int error = endpoint->domain == NULL ? piommu_viommu_park_(endpoint) : 0;

        result = error != 0 ? error : result;
    }
    return result;
}

void piommu_viommu_leave_(struct piommu_viommu_endpoint *endpoint)
{
    struct piommu_viommu *viommu = endpoint->viommu;
    const struct piommu_range all = {.first = 0, .last = UINT64_MAX};
    struct guest_domain *domain = endpoint->domain;
    struct piommu_viommu_endpoint **link;

    if (domain == NULL) {
        return;
    }
    link = &domain->endpoints;
    while (*link != endpoint) {
        link = &(*link)->next;
    }
    *link = endpoint->next;
    endpoint->next = NULL;
    endpoint->domain = NULL;
    if (endpoint->device == NULL && viommu->config.callbacks.unmapped != NULL) {
        viommu->config.callbacks.unmapped(viommu->config.cookie, endpoint->cookie, all);
    }
    if (domain->endpoints == NULL) {
        piommu_viommu_end_domain_(viommu, domain);
    }
}

void piommu_viommu_join_(struct piommu_viommu_endpoint *endpoint, struct guest_domain *domain)
{
    endpoint->domain = domain;
    endpoint->next = domain->endpoints;
    domain->endpoints = endpoint;
}

size_t piommu_viommu_properties_size_(size_t region_count)
{
    return region_count * (PROPERTY_HEAD + RESV_MEM_SIZE);
}

void piommu_viommu_properties_(const struct piommu_viommu_endpoint *endpoint, uint8_t *properties)
{
    for (size_t i = 0; i < endpoint->region_count; i++) {
        const struct piommu_reserved_region *region = &endpoint->regions[i];
        uint8_t *property = properties + piommu_viommu_properties_size_(i);

        property[0] = PROPERTY_RESV_MEM;
        property[2] = RESV_MEM_SIZE;
        property[4] = region->kind == PIOMMU_RESERVED_MSI ? RESV_MEM_MSI : RESV_MEM_RESERVED;
        piommu_put_le64(property + 8, region->range.first);
        piommu_put_le64(property + 16, region->range.last);
    }
}

static size_t object_size(size_t region_count)
{
    return sizeof(struct piommu_viommu_endpoint) +
           region_count * sizeof(struct piommu_reserved_region);
}

static int check_endpoint(const struct piommu_viommu *viommu,
                          const struct piommu_viommu_endpoint_config *config)
{
    if (config->region_count != 0 && config->regions == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (config->region_count > viommu->config.probe_size ||
        piommu_viommu_properties_size_(config->region_count) > viommu->config.probe_size) {
        return -PIOMMU_ENOSPC;
    }
    for (size_t i = 0; i < config->region_count; i++) {
        if (config->regions[i].range.first > config->regions[i].range.last ||
            config->regions[i].kind > PIOMMU_RESERVED_MSI) {
            return -PIOMMU_EINVAL;
        }
    }
    if (piommu_viommu_find_endpoint_(viommu, config->id) != NULL) {
        return -PIOMMU_EEXIST;
    }
    /* Does nothing to one that is blocked, but for telling whether it is alone. */
    return config->device != NULL ? piommu_device_detach(config->device) : 0;
}

int piommu_viommu_add_endpoint(struct piommu_viommu *viommu,
                               const struct piommu_viommu_endpoint_config *config,
                               struct piommu_viommu_endpoint **result)
{
    struct piommu_viommu_endpoint *endpoint;
    int error;

    if (viommu == NULL || config == NULL || result == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = check_endpoint(viommu, config);
    if (error != 0) {
        return error;
    }
    endpoint = piommu_host_alloc_(viommu->host, object_size(config->region_count));
    if (endpoint == NULL) {
        return -PIOMMU_ENOMEM;
    }
    endpoint->viommu = viommu;
    endpoint->device = config->device;
    endpoint->cookie = config->cookie;
    endpoint->node.first = config->id;
    endpoint->node.last = config->id;
    endpoint->region_count = config->region_count;
    for (size_t i = 0; i < config->region_count; i++) {
        endpoint->regions[i] = config->regions[i];
    }
    error = piommu_viommu_park_(endpoint);
    if (error != 0) {
        piommu_host_free_(viommu->host, endpoint, object_size(config->region_count));
        return error;
    }
    (void)piommu_range_tree_insert_(&viommu->endpoints, &endpoint->node);
    *result = endpoint;
    return 0;
}

int piommu_viommu_remove_endpoint(struct piommu_viommu_endpoint *endpoint)
{
    struct piommu_viommu *viommu;
    int error = 0;

    if (endpoint == NULL) {
        return 0;
    }
    viommu = endpoint->viommu;
    if (piommu_viommu_is_half_done_(viommu)) {
        return -PIOMMU_EAGAIN;
    }
    if (endpoint->device != NULL) {
        error = piommu_device_detach(endpoint->device);
    }
    if (error != 0) {
        return error;
    }
    piommu_viommu_leave_(endpoint);
    piommu_range_tree_remove_(&viommu->endpoints, &endpoint->node);
    piommu_host_free_(viommu->host, endpoint, object_size(endpoint->region_count));
    return 0;
}

int piommu_viommu_translate(struct piommu_viommu_endpoint *endpoint, uint64_t iova, uint64_t size,
                            piommu_prot prot, struct piommu_segment *pieces, size_t room,
                            size_t *count)
{
    const struct piommu_viommu *viommu;
    uint64_t last = iova + (size - 1);
    size_t used = 0;

    if (endpoint == NULL || size == 0 || last < iova || pieces == NULL || room == 0 ||
        count == NULL || (prot & ~(PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)) != 0 || prot == 0) {
        return -PIOMMU_EINVAL;
    }
    viommu = endpoint->viommu;
    if (endpoint->domain == NULL ? viommu->is_bypassed && viommu->config.bypass != NULL
                                 : endpoint->domain->bypass) {
        *pieces = (struct piommu_segment){.physical = iova, .size = size};
        *count = 1;
        return 0;
    }
    if (endpoint->domain == NULL) {
        return -PIOMMU_ENOENT;
    }
    for (uint64_t next = iova;; next = pieces[used - 1].size + next) {
        const struct range_node *node = piommu_range_tree_from_(&endpoint->domain->mappings, next);
        const struct mapping *mapping;
        uint64_t end;

        if (node == NULL || node->first > next) {
            return -PIOMMU_ENOENT;
        }
        mapping = RANGE_TREE_ENTRY(node, const struct mapping, node);
        if ((prot & ~mapping->prot) != 0) {
            return -PIOMMU_EOPNOTSUPP;
        }
        if (used == room) {
            return -PIOMMU_ENOSPC;
        }
        end = node->last < last ? node->last : last;
        pieces[used++] = (struct piommu_segment){.physical = mapping->guest + (next - node->first),
                                                 .size = end - next + 1};
        if (end == last) {
            *count = used;
            return 0;
        }
    }
}
