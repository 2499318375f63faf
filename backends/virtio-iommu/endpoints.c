/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Endpoints, and the domains they are in. */

#include "unit.h"

static int send_attach(struct virtio_iommu *unit, const struct virtio_endpoint *endpoint,
                       uint32_t domain, uint32_t flags)
{
    struct request request = {.size = ATTACH_SIZE};

    request.bytes[AT_TYPE] = TYPE_ATTACH;
    piommu_put_le32(request.bytes + ATTACH_DOMAIN, domain);
    piommu_put_le32(request.bytes + ATTACH_ENDPOINT, endpoint->id);
    piommu_put_le32(request.bytes + ATTACH_FLAGS, flags);
    return piommu_virtio_iommu_send_one_(unit, &request);
}

static int send_detach(struct virtio_iommu *unit, struct virtio_endpoint *endpoint)
{
    struct request request = {.size = DETACH_SIZE};
    int error;

    request.bytes[AT_TYPE] = TYPE_DETACH;
    piommu_put_le32(request.bytes + DETACH_DOMAIN, endpoint->domain);
    piommu_put_le32(request.bytes + DETACH_ENDPOINT, endpoint->id);
    error = piommu_virtio_iommu_send_one_(unit, &request);
    if (error == 0) {
        endpoint->attached = false;
    }
    return error;
}

/* Puts an endpoint into a domain, out of whichever it is in. */
static int enter(struct virtio_iommu *unit, struct virtio_endpoint *endpoint, uint32_t domain,
                 uint32_t flags)
{
    int error;

    /*
     * To attach an endpoint where it is has no defined meaning; some devices drop all mappings
     * then.
     */
    if (endpoint->attached && endpoint->domain == domain) {
        return 0;
    }
    error = send_attach(unit, endpoint, domain, flags);
    /* A device need not take an endpoint out of another domain by itself (5.13.6.3.2). */
    if (error == -PIOMMU_EOPNOTSUPP && endpoint->attached && unit->unattached_is_blocked) {
        error = send_detach(unit, endpoint);
        if (error == 0) {
            error = send_attach(unit, endpoint, domain, flags);
        }
    }
    endpoint->doubtful = error == -PIOMMU_EIO;
    if (error == 0) {
        endpoint->attached = true;
        endpoint->domain = domain;
    } else if (error == -PIOMMU_EIO && !endpoint->attached && unit->unattached_is_blocked) {
        /*
         * No clear refusal: the device may have done it all the same. What it says now does not
         * matter.
         */
        struct virtio_endpoint doubtful = {.id = endpoint->id, .attached = true, .domain = domain};
        int undo = send_detach(unit, &doubtful);

        if (undo == -PIOMMU_ETIMEDOUT || undo == -PIOMMU_EFAILED) {
            return undo;
        }
    }
    return error;
}

int piommu_virtio_iommu_attach_(void *unit, void *endpoint, void *handle)
{
    const struct virtio_domain *domain = handle;

    return enter(unit, endpoint, domain->number, domain->attach_flags);
}

int piommu_virtio_iommu_block_(void *handle, void *endpoint_handle)
{
    struct virtio_iommu *unit = handle;
    struct virtio_endpoint *endpoint = endpoint_handle;

    if (unit->unattached_is_blocked) {
        return endpoint->attached ? send_detach(unit, endpoint) : 0;
    }
    for (unsigned int which = 0; which < 2; which++) {
        if (endpoint->attached && endpoint->domain == blocked_domain(unit, which)) {
            return endpoint->doubtful ? enter(unit, endpoint, blocked_domain(unit, 1 - which), 0)
                                      : 0;
        }
    }
    return enter(unit, endpoint, blocked_domain(unit, 0), 0);
}

/* Takes one reserved region; `property` is RESV_MEM_LENGTH bytes behind its header. */
static int take_reserved(const uint8_t *property, struct piommu_endpoint_facts *facts)
{
    struct piommu_reserved_region region = {
        .range = {.first = piommu_get_le64(property + RESV_MEM_START),
                  .last = piommu_get_le64(property + RESV_MEM_END)},
        /* Unknown subtypes are to be treated as reserved. */
        .kind = property[RESV_MEM_SUBTYPE] == RESV_MEM_SUBTYPE_MSI ? PIOMMU_RESERVED_MSI
                                                                   : PIOMMU_RESERVED};
    int error = piommu_backend_add_reserved(facts, &region);

    return error == -PIOMMU_EINVAL ? -PIOMMU_EBADMSG : error;
}

/*
 * Walks the list of properties. The device may have written anything, and may go on writing: each
 * property is copied before it is looked at.
 */
static int take_properties(const struct virtio_iommu *unit, struct piommu_endpoint_facts *facts)
{
    uint32_t at = 0;

    while (unit->probe_size - at >= PROPERTY_HEADER_SIZE) {
        uint8_t property[PROPERTY_HEADER_SIZE + RESV_MEM_LENGTH];
        uint32_t left = unit->probe_size - at - PROPERTY_HEADER_SIZE;
        uint32_t type;
        uint32_t length;

        memcpy(property, unit->probe_memory + at, PROPERTY_HEADER_SIZE);
        type = piommu_get_le16(property);
        length = piommu_get_le16(property + 2);
        if ((type & PROPERTY_TYPE_MASK) == PROPERTY_NONE) {
            return 0;
        }
        if (length > left) {
            return -PIOMMU_EBADMSG;
        }
        if (type == PROPERTY_RESV_MEM) {
            int error;

            if (length < RESV_MEM_LENGTH) {
                return -PIOMMU_EBADMSG;
            }
            memcpy(property, unit->probe_memory + at, sizeof(property));
            error = take_reserved(property, facts);
            if (error != 0) {
                return error;
            }
        }
        at += PROPERTY_HEADER_SIZE + length;
    }
    return 0;
}

static int probe_endpoint(struct virtio_iommu *unit, uint32_t id,
                          struct piommu_endpoint_facts *facts)
{
    struct request request = {.size = PROBE_SIZE};
    int error;

    request.bytes[AT_TYPE] = TYPE_PROBE;
    piommu_put_le32(request.bytes + PROBE_ENDPOINT, id);
    error = piommu_virtio_iommu_send_one_(unit, &request);
    return error != 0 ? error : take_properties(unit, facts);
}

/* Takes an endpoint that was added before, or makes one; NULL if there is no memory. */
static struct virtio_endpoint *take_endpoint(struct virtio_iommu *unit, uint32_t id)
{
    struct virtio_endpoint *endpoint;

    for (struct virtio_endpoint **link = &unit->parked; *link != NULL; link = &(*link)->next) {
        endpoint = *link;
        if (endpoint->id == id) {
            *link = endpoint->next;
            return endpoint;
        }
    }
    endpoint = piommu_host_alloc(unit->host, sizeof(*endpoint));
    if (endpoint != NULL) {
        endpoint->id = id;
    }
    return endpoint;
}

int piommu_virtio_iommu_add_endpoint_(void *handle, uint32_t id,
                                      struct piommu_endpoint_facts *facts, void **result)
{
    struct virtio_iommu *unit = handle;
    struct virtio_endpoint *endpoint = take_endpoint(unit, id);
    int error = 0;

    if (endpoint == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if (unit->probe_memory != NULL) {
        error = probe_endpoint(unit, id, facts);
    }
    if (error == 0) {
        error = piommu_virtio_iommu_block_(unit, endpoint);
    }
    if (error != 0) {
        piommu_virtio_iommu_release_endpoint_(unit, endpoint);
        return error == -PIOMMU_EOPNOTSUPP ? -PIOMMU_EIO : error;
    }
    *result = endpoint;
    return 0;
}

void piommu_virtio_iommu_release_endpoint_(void *handle, void *endpoint_handle)
{
    struct virtio_iommu *unit = handle;
    struct virtio_endpoint *endpoint = endpoint_handle;

    if (endpoint->attached) {
        endpoint->next = unit->parked;
        unit->parked = endpoint;
    } else {
        piommu_host_free(unit->host, endpoint, sizeof(*endpoint));
    }
}

static bool number_in_use(const struct virtio_iommu *unit, uint32_t number)
{
    for (const struct virtio_domain *domain = unit->domains; domain != NULL;
         domain = domain->next) {
        if (domain->number == number) {
            return true;
        }
    }
    return false;
}

/*
 * Finds a free number for a paging domain. Numbers go round, so that one that was given up stays
 * unused as long as possible. The list of domains is finite, so a free number is found soon, if
 * there is any.
 */
static int take_number(struct virtio_iommu *unit, uint32_t *number)
{
    uint32_t first = unit->first_domain + fixed_domains(unit);
    uint32_t start = unit->next_domain;

    do {
        uint32_t candidate = unit->next_domain;

        unit->next_domain = candidate == unit->last_domain ? first : candidate + 1;
        if (!number_in_use(unit, candidate)) {
            *number = candidate;
            return 0;
        }
    } while (unit->next_domain != start);
    return -PIOMMU_ENOSPC;
}

int piommu_virtio_iommu_domain_create_(void *handle, const struct piommu_backend_domain *request,
                                       void **result)
{
    struct virtio_iommu *unit = handle;
    struct virtio_domain *domain = piommu_host_alloc(unit->host, sizeof(*domain));
    int error = 0;

    if (domain == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if (request->type == PIOMMU_DOMAIN_IDENTITY) {
        /* All identity domains are the same one to the device. */
        domain->number = identity_domain(unit);
        domain->attach_flags = ATTACH_F_BYPASS;
    } else {
        error = take_number(unit, &domain->number);
    }
    if (error != 0) {
        piommu_host_free(unit->host, domain, sizeof(*domain));
        return error;
    }
    domain->next = unit->domains;
    unit->domains = domain;
    *result = domain;
    return 0;
}

void piommu_virtio_iommu_domain_destroy_(void *handle, void *domain)
{
    struct virtio_iommu *unit = handle;
    struct virtio_domain **link = &unit->domains;

    while (*link != domain) {
        link = &(*link)->next;
    }
    *link = (*link)->next;
    piommu_host_free(unit->host, domain, sizeof(struct virtio_domain));
}
