/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Moving groups between domains. All IDs of a group move, or none does; between two domains an ID
 * is in one of them or blocked, never free.
 */

#include "core.h"

/* A domain with a handle exists in hardware; a blocked domain does not. */
static bool grants(const struct piommu_domain *domain)
{
    return domain != NULL && domain->handle != NULL;
}

/* Blocks an endpoint that is not counted in any domain. */
static int block(struct endpoint *endpoint)
{
    struct piommu_instance *instance = endpoint->group->instance;
    int error = instance->backend->block(instance->unit, endpoint->handle);

    return error != 0 ? piommu_instance_fail_(instance, error) : 0;
}

/*
 * Moves one endpoint into a domain, from `from` or (NULL) from blocked. After a failure it is
 * blocked and in neither; -PIOMMU_EFAILED if not even that was possible.
 */
static int enter(struct endpoint *endpoint, struct piommu_domain *from, struct piommu_domain *to)
{
    struct piommu_instance *instance = to->instance;
    bool first = to->statistics.endpoints == 0;
    int error = piommu_instance_judge_(
        instance, instance->backend->attach(instance->unit, endpoint->handle, to->handle));

    if (from != NULL) {
        from->statistics.endpoints--;
    }
    if (error == 0) {
        to->statistics.endpoints++;
        if (first && instance->backend->kind == PIOMMU_BACKEND_REQUESTS &&
            to->config.type == PIOMMU_DOMAIN_PAGING) {
            error = piommu_domain_replay_(to);
        }
        if (error == 0) {
            return 0;
        }
        to->statistics.endpoints--;
    }
    return error == -PIOMMU_EFAILED || block(endpoint) != 0 ? -PIOMMU_EFAILED : error;
}

/* Blocks the endpoints of a group up to `end`, all of which are in `domain`. */
static int leave(struct piommu_group *group, const struct endpoint *end,
                 struct piommu_domain *domain)
{
    for (struct endpoint *endpoint = group->endpoints; endpoint != end; endpoint = endpoint->next) {
        if (block(endpoint) != 0) {
            return -PIOMMU_EFAILED;
        }
        domain->statistics.endpoints--;
    }
    return 0;
}

/* Moves all endpoints of a blocked group into a domain. After a failure all are blocked again. */
static int enter_all(struct piommu_group *group, struct piommu_domain *domain)
{
    for (struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        int error = enter(endpoint, NULL, domain);

        if (error == -PIOMMU_EFAILED) {
            return error;
        }
        if (error != 0) {
            return leave(group, endpoint, domain) != 0 ? -PIOMMU_EFAILED : error;
        }
    }
    return 0;
}

/* Moves the endpoints of a group in hardware; both domains may be NULL or blocked. */
static int move(struct piommu_group *group, struct piommu_domain *from, struct piommu_domain *to)
{
    bool single = group->endpoints->next == NULL;
    int error;

    if (grants(from) && grants(to) && single) {
        error = enter(group->endpoints, from, to);
    } else {
        error = grants(from) ? leave(group, NULL, from) : 0;
        if (error == 0 && grants(to)) {
            error = enter_all(group, to);
        }
    }
    if (error == 0 || error == -PIOMMU_EFAILED || !grants(from)) {
        return error;
    }
    /* All are blocked: try to go back. */
    switch (enter_all(group, from)) {
    case 0:
        return error;
    case -PIOMMU_EFAILED:
        return -PIOMMU_EFAILED;
    default:
        return -PIOMMU_EBLOCKED;
    }
}

static uint32_t count_endpoints(const struct piommu_group *group)
{
    uint32_t count = 0;

    for (const struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        count++;
    }
    return count;
}

static uint64_t count_reserved(const struct piommu_group *group)
{
    uint64_t count = 0;

    for (const struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        count += endpoint_reserved_regions(endpoint);
    }
    return count;
}

/* Notes in which domain a group is; the hardware has been told before. */
static void set_domain(struct piommu_group *group, struct piommu_domain *domain)
{
    struct piommu_instance *instance = group->instance;
    unsigned long state;

    if (group->domain != NULL) {
        struct piommu_group **link = &group->domain->groups;

        while (*link != group) {
            link = &(*link)->next;
        }
        *link = group->next;
        group->domain->reserved_regions -= count_reserved(group);
    }
    group->next = NULL;
    if (domain != NULL) {
        domain->reserved_regions += count_reserved(group);
        group->next = domain->groups;
        domain->groups = group;
    }
    state = piommu_host_lock(instance->host, instance->lock);
    group->domain = domain;
    piommu_host_unlock(instance->host, instance->lock, state);
}

/*
 * Takes a group out of its domain on an instance that has failed: the hardware is not asked any
 * more, but it must have confirmed that it blocks everything.
 */
static int abandon(struct piommu_group *group)
{
    struct piommu_domain *domain = group->domain;

    if (!piommu_instance_stopped_(group->instance)) {
        return -PIOMMU_EFAILED;
    }
    set_domain(group, NULL);
    if (grants(domain)) {
        domain->statistics.endpoints = 0;
        for (const struct piommu_group *other = domain->groups; other != NULL;
             other = other->next) {
            domain->statistics.endpoints += count_endpoints(other);
        }
    }
    return 0;
}

/* Tells whether a mapping in the domain overlaps a reserved region of the group. */
static bool conflicts(const struct piommu_group *group, struct piommu_domain *domain)
{
    if (domain->config.type != PIOMMU_DOMAIN_PAGING) {
        return false;
    }
    for (const struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        for (const struct reserved_node *node = endpoint->reserved.first; node != NULL;
             node = node->next) {
            if (piommu_domain_any_mapped_(domain, node->region.range)) {
                return true;
            }
        }
    }
    return false;
}

int piommu_group_attach(struct piommu_group *group, struct piommu_domain *domain)
{
    struct piommu_domain *old;
    int error;

    if (group == NULL || domain == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (group->instance != domain->instance) {
        return -PIOMMU_EMIXED;
    }
    old = group->domain;
    if (old == domain) {
        return 0;
    }
    if (instance_failed(group->instance)) {
        (void)abandon(group);
        return -PIOMMU_EFAILED;
    }
    if (conflicts(group, domain)) {
        return -PIOMMU_ERESERVED;
    }
    error = move(group, old, domain);
    if (error == 0) {
        set_domain(group, domain);
    } else if (error == -PIOMMU_EBLOCKED) {
        set_domain(group, NULL);
    } else if (error == -PIOMMU_EFAILED) {
        (void)abandon(group);
    }
    return error;
}

int piommu_group_detach(struct piommu_group *group)
{
    if (group == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (group->domain == NULL) {
        return 0;
    }
    if (!instance_failed(group->instance) && move(group, group->domain, NULL) == 0) {
        set_domain(group, NULL);
        return 0;
    }
    return abandon(group);
}

static bool is_alone(const struct piommu_device *device)
{
    return device->group->devices == device && device->next == NULL;
}

int piommu_device_attach(struct piommu_device *device, struct piommu_domain *domain)
{
    if (device == NULL) {
        return -PIOMMU_EINVAL;
    }
    return is_alone(device) ? piommu_group_attach(device->group, domain) : -PIOMMU_EGROUP;
}

int piommu_device_detach(struct piommu_device *device)
{
    if (device == NULL) {
        return -PIOMMU_EINVAL;
    }
    return is_alone(device) ? piommu_group_detach(device->group) : -PIOMMU_EGROUP;
}
