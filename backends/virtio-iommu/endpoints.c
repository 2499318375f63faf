/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Endpoints, and the domains they are in. */

#include "unit.h"

static bool number_in_use(const struct virtio_iommu *unit, uint32_t number)
{
    for (const struct virtio_domain *domain = unit->domains; domain != NULL;
         domain = domain->next) {
        if (!domain->identity && domain->number == number) {
            return true;
        }
    }
    for (const struct virtio_endpoint *endpoint = unit->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        if (endpoint->has_identity && endpoint->identity == number) {
            return true;
        }
    }
    return false;
}

/*
 * Finds a free number for a domain. Numbers go round, so that one that was given up stays unused as
 * long as possible. The lists are finite, so a free number is found soon, if there is any.
 */
static int take_number(struct virtio_iommu *unit, uint32_t *number)
{
    uint32_t first = unit->facts.first_domain + fixed_domains(unit);
    uint32_t start = unit->next_domain;

    do {
        uint32_t candidate = unit->next_domain;

        unit->next_domain = candidate == unit->facts.last_domain ? first : candidate + 1;
        if (!number_in_use(unit, candidate)) {
            *number = candidate;
            return 0;
        }
    } while (unit->next_domain != start);
    return -PIOMMU_ENOSPC;
}

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

/*
 * Takes an endpoint, which was in no domain, out of one that the device may have put it into though
 * it did not say so.
 */
static APART_IF_SHALLOW int undo_attach(struct virtio_iommu *unit,
                                        const struct virtio_endpoint *endpoint, uint32_t domain)
{
    struct virtio_endpoint doubtful = {.id = endpoint->id, .attached = true, .domain = domain};
    int error = send_detach(unit, &doubtful);

    if (error == 0 || error == -PIOMMU_ENOENT) {
        return 0;
    }
    return error == -PIOMMU_ETIMEDOUT ? error : -PIOMMU_EFAILED;
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
        /* No clear refusal: the device may have done it all the same. */
        int undo = undo_attach(unit, endpoint, domain);

        error = undo != 0 ? undo : error;
    }
    return error;
}

/* Enters a domain of the endpoint's own in which all addresses are mapped to themselves. */
static int enter_mapped_identity(struct virtio_iommu *unit, struct virtio_endpoint *endpoint)
{
    int error;

    if (endpoint->attached && endpoint->has_identity && endpoint->domain == endpoint->identity) {
        return 0;
    }
    if (!endpoint->has_identity) {
        error = take_number(unit, &endpoint->identity);
        if (error != 0) {
            return error;
        }
        endpoint->has_identity = true;
    }
    error = enter(unit, endpoint, endpoint->identity, 0);
    return error != 0 ? error : piommu_virtio_iommu_map_identity_(unit, endpoint);
}

static int enter_identity(struct virtio_iommu *unit, struct virtio_endpoint *endpoint)
{
    return passes_by_domain(unit) ? enter(unit, endpoint, identity_domain(unit), ATTACH_F_BYPASS)
                                  : enter_mapped_identity(unit, endpoint);
}

int piommu_virtio_iommu_attach_(void *unit, void *endpoint, void *handle)
{
    const struct virtio_domain *domain = handle;

    return domain->identity ? enter_identity(unit, endpoint)
                            : enter(unit, endpoint, domain->number, 0);
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

/* What to do with each reserved region that the device tells of. */
struct region_taker {
    struct piommu_endpoint_facts *facts;
    struct virtio_endpoint *endpoint;
    uint32_t count;
    bool keep; /* note them in the endpoint, which has room for reserved_count */
};

/* Takes one reserved region; `property` is RESV_MEM_LENGTH bytes behind its header. */
static int take_reserved(const uint8_t *property, struct region_taker *taker)
{
    struct piommu_reserved_region region = {
        .range = {.first = piommu_get_le64(property + RESV_MEM_START),
                  .last = piommu_get_le64(property + RESV_MEM_END)},
        /* Unknown subtypes are to be treated as reserved. */
        .kind = property[RESV_MEM_SUBTYPE] == RESV_MEM_SUBTYPE_MSI ? PIOMMU_RESERVED_MSI
                                                                   : PIOMMU_RESERVED};
    int error;

    if (taker->keep) {
        if (taker->count == taker->endpoint->reserved_count ||
            region.range.first > region.range.last) {
            return -PIOMMU_EBADMSG; /* it was another list a moment ago */
        }
        taker->endpoint->reserved[taker->count++] = region.range;
        return 0;
    }
    taker->count++;
    error = piommu_backend_add_reserved(taker->facts, &region);
    return error == -PIOMMU_EINVAL ? -PIOMMU_EBADMSG : error;
}

/*
 * Walks the list of properties. The device may have written anything, and may go on writing: each
 * property is copied before it is looked at.
 */
static int take_properties(const struct virtio_iommu *unit, struct region_taker *taker)
{
    uint32_t at = 0;

    while (unit->facts.probe_size - at >= PROPERTY_HEADER_SIZE) {
        uint8_t property[PROPERTY_HEADER_SIZE + RESV_MEM_LENGTH];
        uint32_t left = unit->facts.probe_size - at - PROPERTY_HEADER_SIZE;
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
            error = take_reserved(property, taker);
            if (error != 0) {
                return error;
            }
        }
        at += PROPERTY_HEADER_SIZE + length;
    }
    return 0;
}

/*
 * Makes of an endpoint's reserved regions whole granules, inside of what can be mapped, in
 * ascending order, apart from each other. There are at most 256: the core takes no more.
 */
static void tidy_reserved(const struct virtio_iommu *unit, struct virtio_endpoint *endpoint)
{
    uint64_t granule_mask = (unit->facts.leaf_sizes & (~unit->facts.leaf_sizes + 1)) - 1;
    struct piommu_range *list = endpoint->reserved;
    uint32_t count = 0;

    for (uint32_t i = 0; i < endpoint->reserved_count; i++) {
        struct piommu_range range = {.first = list[i].first & ~granule_mask,
                                     .last = list[i].last | granule_mask};
        uint32_t from = 0;
        uint32_t to;

        if (range.last < unit->facts.aperture.first || range.first > unit->facts.aperture.last) {
            continue;
        }
        if (range.first < unit->facts.aperture.first) {
            range.first = unit->facts.aperture.first;
        }
        if (range.last > unit->facts.aperture.last) {
            range.last = unit->facts.aperture.last;
        }
        /* All that it overlaps become one with it. */
        while (from < count && list[from].last < range.first) {
            from++;
        }
        for (to = from; to < count && list[to].first <= range.last; to++) {
            range.first = list[to].first < range.first ? list[to].first : range.first;
            range.last = list[to].last > range.last ? list[to].last : range.last;
        }
        memmove(&list[from + 1], &list[to], (count - to) * sizeof(*list));
        list[from] = range;
        count = count + 1 - (to - from);
    }
    for (uint32_t i = count; i < endpoint->reserved_count; i++) {
        list[i] = (struct piommu_range){.first = 0, .last = 0};
    }
    endpoint->reserved_used = count;
}

/* Notes an endpoint's reserved regions, for identity domains that are made of mappings. */
static int keep_reserved(struct virtio_iommu *unit, struct virtio_endpoint *endpoint,
                         uint32_t count)
{
    struct region_taker taker = {.endpoint = endpoint, .keep = true};
    int error;

    endpoint->reserved = piommu_host_alloc_(unit->host, count * sizeof(*endpoint->reserved));
    if (endpoint->reserved == NULL) {
        return -PIOMMU_ENOMEM;
    }
    endpoint->reserved_count = count;
    error = take_properties(unit, &taker);
    if (error == 0 && taker.count != count) {
        error = -PIOMMU_EBADMSG;
    }
    if (error == 0) {
        tidy_reserved(unit, endpoint);
    }
    return error;
}

static APART_IF_SHALLOW int probe_endpoint(struct virtio_iommu *unit,
                                           struct virtio_endpoint *endpoint,
                                           struct piommu_endpoint_facts *facts)
{
    struct request request = {.size = PROBE_SIZE};
    struct region_taker taker = {.facts = facts};
    int error;

    request.bytes[AT_TYPE] = TYPE_PROBE;
    piommu_put_le32(request.bytes + PROBE_ENDPOINT, endpoint->id);
    error = piommu_virtio_iommu_send_one_(unit, &request);
    if (error == 0) {
        piommu_virtio_from_device(unit->device, unit->probe_memory, unit->facts.probe_size);
        error = take_properties(unit, &taker);
    }
    if (error == 0 && taker.count != 0 && !passes_by_domain(unit)) {
        error = keep_reserved(unit, endpoint, taker.count);
    }
    return error;
}

static void free_reserved(struct virtio_iommu *unit, struct virtio_endpoint *endpoint)
{
    piommu_host_free_(unit->host, endpoint->reserved,
                      endpoint->reserved_count * sizeof(*endpoint->reserved));
    endpoint->reserved = NULL;
    endpoint->reserved_count = 0;
    endpoint->reserved_used = 0;
}

/* Takes an endpoint that is known, or makes one; NULL if there is no memory. */
static struct virtio_endpoint *take_endpoint(struct virtio_iommu *unit, uint32_t id)
{
    struct virtio_endpoint *endpoint = unit->endpoints;

    while (endpoint != NULL && endpoint->id != id) {
        endpoint = endpoint->next;
    }
    if (endpoint == NULL) {
        endpoint = piommu_host_alloc_(unit->host, sizeof(*endpoint));
        if (endpoint != NULL) {
            endpoint->id = id;
            endpoint->next = unit->endpoints;
            unit->endpoints = endpoint;
        }
    }
    return endpoint;
}

static void free_endpoint(struct virtio_iommu *unit, struct virtio_endpoint *endpoint)
{
    struct virtio_endpoint **link = &unit->endpoints;

    while (*link != endpoint) {
        link = &(*link)->next;
    }
    *link = endpoint->next;
    free_reserved(unit, endpoint);
    piommu_host_free_(unit->host, endpoint, sizeof(*endpoint));
}

void piommu_virtio_iommu_free_endpoints_(struct virtio_iommu *unit)
{
    while (unit->endpoints != NULL) {
        free_endpoint(unit, unit->endpoints);
    }
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
    endpoint->added = true;
    if (unit->probe_memory != NULL) {
        error = probe_endpoint(unit, endpoint, facts);
    }
    if (error == 0 && endpoint->running) {
        piommu_backend_set_running(facts);
    } else if (error == 0) {
        error = piommu_virtio_iommu_block_(unit, endpoint);
    }
    endpoint->running = false;
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

    endpoint->added = false;
    endpoint->has_identity = false;
    free_reserved(unit, endpoint);
    if (!endpoint->attached) {
        free_endpoint(unit, endpoint);
    }
}

int piommu_virtio_iommu_let_run_(struct virtio_iommu *unit)
{
    int error = 0;

    for (uint32_t i = 0; i < unit->place.running_count && error == 0; i++) {
        struct virtio_endpoint *endpoint = take_endpoint(unit, unit->place.running[i]);

        if (endpoint == NULL) {
            return -PIOMMU_ENOMEM;
        }
        endpoint->running = true;
        error = enter_identity(unit, endpoint);
    }
    /* An ID that the device does not know is the host's mistake. */
    return error == -PIOMMU_ENOENT ? -PIOMMU_EINVAL : error;
}

int piommu_virtio_iommu_block_all_(struct virtio_iommu *unit)
{
    int error = 0;

    for (struct virtio_endpoint *endpoint = unit->endpoints; endpoint != NULL && error == 0;
         endpoint = endpoint->next) {
        error = piommu_virtio_iommu_block_(unit, endpoint);
    }
    return error;
}

int piommu_virtio_iommu_domain_create_(void *handle, const struct piommu_backend_domain *request,
                                       void **result)
{
    struct virtio_iommu *unit = handle;
    struct virtio_domain *domain = piommu_host_alloc_(unit->host, sizeof(*domain));
    int error = 0;

    if (domain == NULL) {
        return -PIOMMU_ENOMEM;
    }
    domain->identity = request->type == PIOMMU_DOMAIN_IDENTITY;
    if (!domain->identity) {
        error = take_number(unit, &domain->number);
    }
    if (error != 0) {
        piommu_host_free_(unit->host, domain, sizeof(*domain));
        return error;
    }
    domain->next = unit->domains;
    unit->domains = domain;
    *result = domain;
    return 0;
}

int piommu_virtio_iommu_domain_destroy_(void *handle, void *domain)
{
    struct virtio_iommu *unit = handle;
    struct virtio_domain **link = &unit->domains;

    while (*link != domain) {
        link = &(*link)->next;
    }
    *link = (*link)->next;
    piommu_host_free_(unit->host, domain, sizeof(struct virtio_domain));
    return 0;
}
