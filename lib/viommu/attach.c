/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * ATTACH and DETACH. An endpoint that is in another domain is moved: it leaves that one when it is
 * in the new one. Source: VIRTIO 1.2, sections 5.13.6.3 "ATTACH request", 5.13.6.4 "DETACH
 * request".
 */

#include "engine.h"

static enum status check_attach(const struct piommu_viommu *viommu,
                                const struct piommu_viommu_endpoint *endpoint,
                                const struct guest_domain *domain, uint32_t id, uint32_t flags,
                                uint32_t reserved)
{
    bool bypass = (flags & ATTACH_BYPASS) != 0;

    if (reserved != 0 || (flags & ~ATTACH_BYPASS) != 0 ||
        (bypass && !has_agreed(viommu, PIOMMU_VIOMMU_F_BYPASS_CONFIG))) {
        return STATUS_INVAL;
    }
    if (endpoint == NULL) {
        return STATUS_NOENT;
    }
    if (id > viommu->config.last_domain) {
        return STATUS_RANGE;
    }
    return domain != NULL && domain->bypass != bypass ? STATUS_INVAL : STATUS_OK;
}

/* Whether something is mapped where the endpoint has a reserved region. */
static bool is_incompatible(const struct piommu_viommu_endpoint *endpoint,
                            const struct guest_domain *domain)
{
    for (size_t i = 0; i < endpoint->region_count; i++) {
        const struct piommu_range *range = &endpoint->regions[i].range;

        if (range_tree_overlaps(&domain->mappings, range->first, range->last)) {
            return true;
        }
    }
    return false;
}

/* The request fails; what was made for it goes. */
static enum status fail(struct piommu_viommu *viommu, enum status status)
{
    struct request *request = &viommu->request;

    if (request->fresh) {
        /* Nothing is mapped in it. */
        piommu_viommu_end_domain_(viommu, request->domain);
        return status;
    }
    request->status = status;
    request->stage = STAGE_DROP;
    return STATUS_UNFINISHED;
}

enum status piommu_viommu_drop_(struct piommu_viommu *viommu, uint32_t *budget)
{
    struct request *request = &viommu->request;

    if (request->has_core && !piommu_viommu_drop_core_(viommu, request->domain, budget)) {
        return STATUS_UNFINISHED;
    }
    return request->status;
}

/* Whether a device is where it was before an attach that failed. */
static bool has_stayed(const struct piommu_viommu_endpoint *endpoint)
{
    const struct piommu_viommu *viommu = endpoint->viommu;
    struct piommu_domain *domain = viommu->is_bypassed ? viommu->config.bypass : NULL;
    struct piommu_device_info info;

    if (endpoint->domain != NULL) {
        domain = endpoint->domain->bypass ? viommu->config.bypass : endpoint->domain->core;
    }
    piommu_device_get_info(endpoint->device, &info);
    return info.domain == domain;
}

/* The hardware's part; apart, so that nothing but the engine is on the stack meanwhile. */
static NEVER_INLINE int attach_device(const struct piommu_viommu *viommu)
{
    const struct guest_domain *domain = viommu->request.domain;
    struct piommu_device *device = viommu->request.endpoint->device;

    return device == NULL ? 0
                          : piommu_device_attach(device, domain->bypass ? viommu->config.bypass
                                                                        : domain->core);
}

/* Moves the endpoint, now that all is prepared. */
static enum status join(struct piommu_viommu *viommu)
{
    int error = attach_device(viommu);
    struct request *request = &viommu->request;
    struct piommu_viommu_endpoint *endpoint = request->endpoint;
    struct guest_domain *domain = request->domain;

    if (error != 0) {
        if (!has_stayed(endpoint)) {
            /* It is blocked, and the guest is to know that it is in no domain. */
            piommu_viommu_leave_(endpoint);
        }
        /* A region that the guest was not told of, and has mapped something over. */
        return fail(viommu,
                    error == -PIOMMU_ERESERVED ? STATUS_UNSUPP : piommu_viommu_status_of_(error));
    }
    piommu_viommu_leave_(endpoint);
    piommu_viommu_join_(endpoint, domain);
    if (endpoint->device != NULL || domain->bypass) {
        return STATUS_OK;
    }
    request->next = piommu_range_tree_from_(&domain->mappings, 0);
    request->stage = STAGE_TELL;
    return STATUS_UNFINISHED;
}

enum status piommu_viommu_begin_attach_(struct piommu_viommu *viommu, const uint8_t *bytes)
{
    struct request *request = &viommu->request;
    const uint32_t id = piommu_get_le32(bytes + 4);
    const uint32_t flags = piommu_get_le32(bytes + 12);
    struct piommu_viommu_endpoint *endpoint =
        piommu_viommu_find_endpoint_(viommu, piommu_get_le32(bytes + 8));
    struct guest_domain *domain = piommu_viommu_find_domain_(viommu, id);
    enum status status =
        check_attach(viommu, endpoint, domain, id, flags, piommu_get_le32(bytes + 16));

    if (status != STATUS_OK) {
        return status;
    }
    if (domain != NULL && endpoint->domain == domain) {
        return STATUS_OK; /* not defined: nothing is lost */
    }
    if (domain != NULL && is_incompatible(endpoint, domain)) {
        return STATUS_UNSUPP;
    }
    request->fresh = domain == NULL;
    if (domain == NULL) {
        domain = piommu_viommu_make_domain_(viommu, id, (flags & ATTACH_BYPASS) != 0);
        if (domain == NULL) {
            return STATUS_NOMEM;
        }
    }
    request->domain = domain;
    request->endpoint = endpoint;
    if (endpoint->device != NULL && !domain->bypass && domain->core == NULL) {
        int error = piommu_viommu_make_core_(viommu, domain, endpoint->device);

        if (error != 0) {
            return fail(viommu, piommu_viommu_status_of_(error));
        }
        request->has_core = true;
        request->next = piommu_range_tree_from_(&domain->mappings, 0);
        request->stage = STAGE_REPLAY;
        return STATUS_UNFINISHED;
    }
    return join(viommu);
}

enum status piommu_viommu_replay_(struct piommu_viommu *viommu, uint32_t *budget)
{
    struct request *request = &viommu->request;

    while (request->next != NULL) {
        const struct mapping *mapping = RANGE_TREE_ENTRY(request->next, struct mapping, node);
        enum status status =
            *budget != 0
                ? piommu_viommu_map_portion_(viommu, request->domain->core, mapping, budget)
                : STATUS_UNFINISHED;

        if (status == STATUS_UNFINISHED) {
            return status;
        }
        if (status != STATUS_OK) {
            return fail(viommu, status);
        }
        request->done = 0;
        request->next = piommu_range_tree_next_(request->next);
    }
    return join(viommu);
}

enum status piommu_viommu_tell_(struct piommu_viommu *viommu, uint32_t *budget)
{
    const struct piommu_viommu_config *config = &viommu->config;
    struct request *request = &viommu->request;

    while (request->next != NULL && config->callbacks.mapped != NULL) {
        const struct mapping *mapping = RANGE_TREE_ENTRY(request->next, struct mapping, node);
        const struct piommu_range range = {.first = mapping->node.first,
                                           .last = mapping->node.last};

        if (*budget == 0) {
            return STATUS_UNFINISHED;
        }
        config->callbacks.mapped(config->cookie, request->endpoint->cookie, range, mapping->guest,
                                 mapping->prot);
        spend(budget, 1);
        request->next = piommu_range_tree_next_(request->next);
    }
    return STATUS_OK;
}

enum status piommu_viommu_detach_(struct piommu_viommu *viommu, const uint8_t *bytes)
{
    struct piommu_viommu_endpoint *endpoint =
        piommu_viommu_find_endpoint_(viommu, piommu_get_le32(bytes + 8));
    const struct guest_domain *domain =
        piommu_viommu_find_domain_(viommu, piommu_get_le32(bytes + 4));

    if (endpoint == NULL) {
        return STATUS_NOENT;
    }
    if (domain == NULL || endpoint->domain != domain) {
        return STATUS_INVAL;
    }
    if (piommu_viommu_park_(endpoint) != 0 && has_stayed(endpoint)) {
        return STATUS_DEVERR;
    }
    piommu_viommu_leave_(endpoint);
    return STATUS_OK;
}
