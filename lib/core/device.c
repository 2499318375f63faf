/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Devices, their IDs, and the groups that follow from IDs being shared. */

#include "core.h"

/* More regions than this in one endpoint are taken for an attack. */
#define MAX_RESERVED_REGIONS 256u

static size_t device_size(size_t id_count)
{
    return sizeof(struct piommu_device) + id_count * sizeof(struct endpoint *);
}

static struct endpoint *find_endpoint(const struct piommu_instance *instance, uint32_t id)
{
    struct range_node *node = piommu_range_tree_from_(&instance->endpoints, id);

    return node != NULL && node->first == id ? RANGE_TREE_ENTRY(node, struct endpoint, node) : NULL;
}

int piommu_backend_add_reserved(struct piommu_reserved_list *list,
                                const struct piommu_reserved_region *region)
{
    struct reserved_node **tail = &list->first;
    unsigned int count = 0;

    if (region->range.first > region->range.last) {
        return -PIOMMU_EINVAL;
    }
    while (*tail != NULL) {
        tail = &(*tail)->next;
        count++;
    }
    if (count == MAX_RESERVED_REGIONS) {
        return -PIOMMU_EBADMSG;
    }
    *tail = piommu_host_alloc(list->host, sizeof(**tail));
    if (*tail == NULL) {
        return -PIOMMU_ENOMEM;
    }
    (*tail)->region = *region;
    return 0;
}

static void free_reserved(struct piommu_reserved_list *list)
{
    while (list->first != NULL) {
        struct reserved_node *node = list->first;

        list->first = node->next;
        piommu_host_free(list->host, node, sizeof(*node));
    }
}

static void free_endpoint(struct piommu_instance *instance, struct endpoint *endpoint)
{
    free_reserved(&endpoint->reserved);
    piommu_host_free(instance->host, endpoint, sizeof(*endpoint));
}

/* Makes an endpoint for an ID that nobody has yet, blocked in hardware. Not in any list. */
static int create_endpoint(struct piommu_instance *instance, uint32_t id, struct endpoint **result)
{
    struct endpoint *endpoint = piommu_host_alloc(instance->host, sizeof(*endpoint));
    int error;

    if (endpoint == NULL) {
        return -PIOMMU_ENOMEM;
    }
    endpoint->node.first = id;
    endpoint->node.last = id;
    endpoint->reserved.host = instance->host;
    error = piommu_instance_judge_(instance, instance->backend->add_endpoint(instance->unit, id,
                                                                             &endpoint->reserved,
                                                                             &endpoint->handle));
    if (error != 0) {
        free_endpoint(instance, endpoint);
        return error;
    }
    *result = endpoint;
    return 0;
}

/* Forgets an endpoint that is blocked and in no list any more. */
static void destroy_endpoint(struct piommu_instance *instance, struct endpoint *endpoint)
{
    instance->backend->release_endpoint(instance->unit, endpoint->handle);
    free_endpoint(instance, endpoint);
}

static int check_config(const struct piommu_device_config *config)
{
    if (config->instance == NULL || config->ids == NULL || config->id_count == 0 ||
        config->id_count > PIOMMU_DEVICE_MAX_IDS) {
        return -PIOMMU_EINVAL;
    }
    for (size_t i = 0; i < config->id_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (config->ids[i] == config->ids[j]) {
                return -PIOMMU_EINVAL;
            }
        }
    }
    return instance_failed(config->instance) ? -PIOMMU_EFAILED : 0;
}

/* Finds the group that the device's IDs already belong to; *group stays NULL if there is none. */
static int find_group(const struct piommu_device_config *config, struct piommu_group **group)
{
    *group = NULL;
    for (size_t i = 0; i < config->id_count; i++) {
        const struct endpoint *endpoint = find_endpoint(config->instance, config->ids[i]);

        if (endpoint == NULL) {
            continue;
        }
        if (*group != NULL && *group != endpoint->group) {
            return -PIOMMU_EGROUP;
        }
        *group = endpoint->group;
    }
    return *group != NULL && (*group)->domain != NULL ? -PIOMMU_EBUSY : 0;
}

/* Finds or makes the endpoint of each ID. After a failure those that were made are gone again. */
static int take_endpoints(struct piommu_device *device, const uint32_t *ids)
{
    struct piommu_instance *instance = device->instance;

    for (size_t i = 0; i < device->endpoint_count; i++) {
        int error = 0;

        device->endpoints[i] = find_endpoint(instance, ids[i]);
        if (device->endpoints[i] == NULL) {
            error = create_endpoint(instance, ids[i], &device->endpoints[i]);
        }
        if (error != 0) {
            while (i-- != 0) {
                if (device->endpoints[i]->users == 0) {
                    destroy_endpoint(instance, device->endpoints[i]);
                }
            }
            return error;
        }
    }
    return 0;
}

/* Makes the device and its new endpoints known; from here on faults are attributed to it. */
static void publish(struct piommu_device *device)
{
    struct piommu_instance *instance = device->instance;
    struct piommu_group *group = device->group;
    unsigned long state = piommu_host_lock(instance->host, instance->lock);

    for (size_t i = 0; i < device->endpoint_count; i++) {
        struct endpoint *endpoint = device->endpoints[i];

        if (endpoint->users++ == 0) {
            endpoint->group = group;
            endpoint->next = group->endpoints;
            group->endpoints = endpoint;
            (void)piommu_range_tree_insert_(&instance->endpoints, &endpoint->node);
        }
    }
    device->next = group->devices;
    group->devices = device;
    piommu_host_unlock(instance->host, instance->lock, state);
    LIST_APPEND(instance->devices, device);
}

int piommu_device_add(const struct piommu_device_config *config, struct piommu_device **result)
{
    struct piommu_host host;
    struct piommu_device *device;
    struct piommu_group *group;
    bool new_group;
    int error;

    if (config == NULL || result == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = check_config(config);
    if (error == 0) {
        error = find_group(config, &group);
    }
    if (error != 0) {
        return error;
    }
    host = config->instance->host;
    new_group = group == NULL;
    device = piommu_host_alloc(host, device_size(config->id_count));
    if (device == NULL) {
        return -PIOMMU_ENOMEM;
    }
    device->instance = config->instance;
    device->name = config->name;
    device->owner = config->owner;
    device->endpoint_count = config->id_count;
    if (new_group) {
        group = piommu_host_alloc(host, sizeof(*group));
        if (group == NULL) {
            error = -PIOMMU_ENOMEM;
        } else {
            group->instance = config->instance;
        }
    }
    if (error == 0) {
        error = take_endpoints(device, config->ids);
        if (error != 0 && new_group) {
            piommu_host_free(host, group, sizeof(*group));
        }
    }
    if (error != 0) {
        piommu_host_free(host, device, device_size(config->id_count));
        return error;
    }
    device->group = group;
    publish(device);
    *result = device;
    return 0;
}

/* Takes out the endpoints that only this device had, and returns them as a chain. */
static struct endpoint *unpublish(struct piommu_device *device)
{
    struct piommu_instance *instance = device->instance;
    struct piommu_group *group = device->group;
    struct piommu_device **link = &group->devices;
    struct endpoint *unused = NULL;
    unsigned long state = piommu_host_lock(instance->host, instance->lock);

    while (*link != device) {
        link = &(*link)->next;
    }
    *link = device->next;
    for (size_t i = 0; i < device->endpoint_count; i++) {
        struct endpoint *endpoint = device->endpoints[i];
        struct endpoint **place = &group->endpoints;

        if (--endpoint->users != 0) {
            continue;
        }
        while (*place != endpoint) {
            place = &(*place)->next;
        }
        *place = endpoint->next;
        piommu_range_tree_remove_(&instance->endpoints, &endpoint->node);
        if (group->domain != NULL) {
            group->domain->reserved_regions -= endpoint_reserved_regions(endpoint);
        }
        endpoint->next = unused;
        unused = endpoint;
    }
    piommu_host_unlock(instance->host, instance->lock, state);
    LIST_REMOVE(instance->devices, device);
    return unused;
}

/*
 * Blocks the IDs that only this device has, in a group that stays attached for its other members.
 */
static int block_own_endpoints(struct piommu_device *device)
{
    struct piommu_instance *instance = device->instance;
    struct piommu_domain *domain = device->group->domain;

    for (size_t i = 0; i < device->endpoint_count; i++) {
        struct endpoint *endpoint = device->endpoints[i];

        if (endpoint->users == 1 && domain != NULL && domain->handle != NULL) {
            int error = instance->backend->block(instance->unit, endpoint->handle);

            if (error != 0) {
                (void)piommu_instance_fail_(instance, error);
                break;
            }
        }
    }
    return instance_failed(instance) && !piommu_instance_stopped_(instance) ? -PIOMMU_EFAILED : 0;
}

int piommu_device_remove(struct piommu_device *device)
{
    struct piommu_instance *instance;
    struct piommu_group *group;
    struct endpoint *unused;
    int error;

    if (device == NULL) {
        return 0;
    }
    instance = device->instance;
    group = device->group;
    if (group->devices == device && device->next == NULL && group->domain != NULL) {
        return -PIOMMU_EBUSY;
    }
    error = block_own_endpoints(device);
    if (error != 0) {
        return error;
    }
    unused = unpublish(device);
    while (unused != NULL) {
        struct endpoint *next = unused->next;

        if (group->domain != NULL && group->domain->handle != NULL) {
            group->domain->statistics.endpoints--;
        }
        destroy_endpoint(instance, unused);
        unused = next;
    }
    if (group->devices == NULL) {
        piommu_host_free(instance->host, group, sizeof(*group));
    }
    piommu_host_free(instance->host, device, device_size(device->endpoint_count));
    return 0;
}

struct piommu_group *piommu_device_group(const struct piommu_device *device)
{
    return device->group;
}

int piommu_device_reserved_region(const struct piommu_device *device, size_t index,
                                  struct piommu_reserved_region *region)
{
    if (device == NULL || region == NULL) {
        return -PIOMMU_EINVAL;
    }
    for (size_t i = 0; i < device->endpoint_count; i++) {
        for (const struct reserved_node *node = device->endpoints[i]->reserved.first; node != NULL;
             node = node->next) {
            if (index-- == 0) {
                *region = node->region;
                return 0;
            }
        }
    }
    return -PIOMMU_ENOENT;
}
