/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Devices, their IDs, and the groups that follow from what cannot be told apart. */

#include "core.h"

/* More regions than this in one endpoint are taken for an attack. */
#define MAX_RESERVED_REGIONS 256u

static size_t device_size(size_t id_count, size_t region_count)
{
    return sizeof(struct piommu_device) + id_count * sizeof(struct device_id) +
           region_count * sizeof(struct piommu_reserved_region);
}

static void free_device(struct piommu_device *device)
{
    piommu_host_free_(device->context->host, device,
                      device_size(device->id_count, device->region_count));
}

struct endpoint *piommu_find_endpoint_(const struct piommu_instance *instance, uint32_t id)
{
    struct range_node *node = piommu_range_tree_from_(&instance->endpoints, id);

    return node != NULL && node->first == id ? RANGE_TREE_ENTRY(node, struct endpoint, node) : NULL;
}

int piommu_backend_add_reserved(struct piommu_endpoint_facts *facts,
                                const struct piommu_reserved_region *region)
{
    struct reserved_node **tail = &facts->reserved;
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
    *tail = piommu_host_alloc_(facts->host, sizeof(**tail));
    if (*tail == NULL) {
        return -PIOMMU_ENOMEM;
    }
    (*tail)->region = *region;
    return 0;
}

void piommu_backend_set_group(struct piommu_endpoint_facts *facts, uint32_t number)
{
    facts->group = number;
}

void piommu_backend_set_running(struct piommu_endpoint_facts *facts)
{
    facts->running = true;
}

static void free_endpoint(struct endpoint *endpoint)
{
    struct piommu_host host = endpoint->instance->host;

    while (endpoint->facts.reserved != NULL) {
        struct reserved_node *node = endpoint->facts.reserved;

        endpoint->facts.reserved = node->next;
        piommu_host_free_(host, node, sizeof(*node));
    }
    piommu_host_free_(host, endpoint, sizeof(*endpoint));
}

/* Makes an endpoint for an ID that nobody has yet, blocked in hardware. Not in any list. */
static int create_endpoint(struct piommu_instance *instance, uint32_t id, struct endpoint **result)
{
    struct endpoint *endpoint = piommu_host_alloc_(instance->host, sizeof(*endpoint));
    int error;

    if (endpoint == NULL) {
        return -PIOMMU_ENOMEM;
    }
    endpoint->instance = instance;
    endpoint->node.first = id;
    endpoint->node.last = id;
    endpoint->facts.host = instance->host;
    error = piommu_instance_judge_(
        instance,
        instance->backend->add_endpoint(instance->unit, id, &endpoint->facts, &endpoint->handle));
    if (error != 0) {
        free_endpoint(endpoint);
        return error;
    }
    *result = endpoint;
    return 0;
}

/* Blocks an endpoint that was left running until now, unless it has got a domain meanwhile. */
static int end_running(struct endpoint *endpoint)
{
    struct piommu_instance *instance = endpoint->instance;
    bool running = endpoint->facts.running;
    int error = 0;

    endpoint->facts.running = false;
    if (running && endpoint->binding == NULL && instance_usable(instance)) {
        error = instance->backend->block(instance->unit, endpoint->handle);
    }
    return error != 0 ? piommu_instance_fail_(instance, error) : 0;
}

/* Forgets an endpoint that has no domain and is in no list any more. */
static void destroy_endpoint(struct endpoint *endpoint)
{
    (void)end_running(endpoint);
    endpoint->instance->backend->release_endpoint(endpoint->instance->unit, endpoint->handle);
    free_endpoint(endpoint);
}

/* Whether a unit is there, and has not to wait itself. */
static bool is_there(const struct piommu_instance *instance)
{
    return instance != NULL && !instance->waiting;
}

/* Finds the instance of an ID; NULL if it has to be waited for. */
static struct piommu_instance *resolve(const struct piommu_context *context,
                                       const struct piommu_device_id *id)
{
    return id->instance != NULL ? id->instance : piommu_instance_by_key_(context, id->key);
}

static bool same_id(const struct device_id *a, const struct device_id *b)
{
    if (a->id != b->id) {
        return false;
    }
    return a->instance != NULL || b->instance != NULL ? a->instance == b->instance
                                                      : a->key == b->key;
}

static int check_config(const struct piommu_context *context,
                        const struct piommu_device_config *config)
{
    if (context == NULL || config->ids == NULL || config->id_count == 0 ||
        config->id_count > PIOMMU_DEVICE_MAX_IDS ||
        config->region_count > PIOMMU_DEVICE_MAX_REGIONS ||
        (config->regions == NULL && config->region_count != 0)) {
        return -PIOMMU_EINVAL;
    }
    for (size_t i = 0; i < config->region_count; i++) {
        if (config->regions[i].range.first > config->regions[i].range.last ||
            (unsigned int)config->regions[i].kind > PIOMMU_RESERVED_RELAXABLE) {
            return -PIOMMU_EINVAL;
        }
    }
    for (size_t i = 0; i < config->id_count; i++) {
        if (config->ids[i].instance == NULL && config->ids[i].key == 0) {
            return -PIOMMU_EINVAL;
        }
        if (config->ids[i].instance != NULL && config->ids[i].instance->context != context) {
            return -PIOMMU_EMIXED;
        }
    }
    return 0;
}

/* Makes the object, with what is known of its IDs. */
static int make_device(struct piommu_context *context, const struct piommu_device_config *config,
                       struct piommu_device **result)
{
    struct piommu_device *device =
        piommu_host_alloc_(context->host, device_size(config->id_count, config->region_count));

    if (device == NULL) {
        return -PIOMMU_ENOMEM;
    }
    device->context = context;
    device->name = config->name;
    device->owner = config->owner;
    device->untrusted = config->untrusted;
    device->group_key = config->group_key;
    device->id_count = config->id_count;
    device->region_count = config->region_count;
    device->regions = (struct piommu_reserved_region *)(void *)&device->ids[config->id_count];
    for (size_t i = 0; i < config->region_count; i++) {
        device->regions[i] = config->regions[i];
    }
    for (size_t i = 0; i < config->id_count; i++) {
        struct device_id *id = &device->ids[i];

        id->key = config->ids[i].key;
        id->id = config->ids[i].id;
        id->instance = resolve(context, &config->ids[i]);
        for (size_t j = 0; j < i; j++) {
            if (same_id(id, &device->ids[j])) {
                free_device(device);
                return -PIOMMU_EINVAL;
            }
        }
    }
    *result = device;
    return 0;
}

static bool same_backend_group(const struct endpoint *a, const struct endpoint *b)
{
    return a != NULL && b != NULL && a->instance == b->instance && a->facts.group != 0 &&
           a->facts.group == b->facts.group;
}

/* Whether two devices cannot be told apart, as far as is known now. */
static bool belong_together(const struct piommu_device *a, const struct piommu_device *b)
{
    if (a->group_key != 0 && a->group_key == b->group_key) {
        return true;
    }
    for (size_t i = 0; i < a->id_count; i++) {
        for (size_t j = 0; j < b->id_count; j++) {
            if (same_id(&a->ids[i], &b->ids[j]) ||
                same_backend_group(a->ids[i].endpoint, b->ids[j].endpoint)) {
                return true;
            }
        }
    }
    return false;
}

/* Whether the device would have to join a group that is attached. */
static bool joins_attached(const struct piommu_device *device)
{
    for (const struct piommu_device *other = device->context->devices; other != NULL;
         other = other->peer) {
        if (other != device && other->group != device->group && other->group->domain != NULL &&
            belong_together(device, other)) {
            return true;
        }
    }
    return false;
}

/* What one attempt to complete a device has got: a bit for each of its IDs. */
struct taken {
    uint64_t fresh; /* this ID has an endpoint since now */
    uint64_t made;  /* and nobody had it before */
};
_Static_assert(PIOMMU_DEVICE_MAX_IDS <= 64, "a bit for each ID");

static bool has_bit(uint64_t set, size_t index)
{
    return ((set >> index) & 1) != 0;
}

static void give_back(struct piommu_device *device, struct taken taken)
{
    for (size_t i = 0; i < device->id_count; i++) {
        if (has_bit(taken.made, i)) {
            destroy_endpoint(device->ids[i].endpoint);
        }
        if (has_bit(taken.fresh, i)) {
            device->ids[i].endpoint = NULL;
        }
    }
}

static int take_endpoint(struct device_id *id, bool *made)
{
    if (instance_failed(id->instance)) {
        return -PIOMMU_EFAILED;
    }
    if (instance_suspended(id->instance)) {
        return -PIOMMU_EBUSY;
    }
    id->endpoint = piommu_find_endpoint_(id->instance, id->id);
    if (id->endpoint != NULL) {
        return 0;
    }
    *made = true;
    return create_endpoint(id->instance, id->id, &id->endpoint);
}

/* Finds or makes the endpoints of IDs whose instance is there: all of them, or none. */
static int take_endpoints(struct piommu_device *device, struct taken *taken)
{
    int error = 0;

    taken->fresh = 0;
    taken->made = 0;
    for (size_t i = 0; i < device->id_count && error == 0; i++) {
        struct device_id *id = &device->ids[i];

        if (id->endpoint == NULL && is_there(id->instance)) {
            bool made = false;

            error = take_endpoint(id, &made);
            if (error == 0) {
                taken->fresh |= UINT64_C(1) << i;
                taken->made |= (uint64_t)made << i;
            }
            id->broken = error != 0;
        }
    }
    if (error == 0 && joins_attached(device)) {
        error = -PIOMMU_EBUSY;
    }
    if (error != 0) {
        give_back(device, *taken);
    }
    return error;
}

/* Makes endpoints that the device has got known; from here on faults are attributed to it. */
static void publish(struct piommu_device *device, struct taken taken)
{
    struct piommu_group *group = device->group;
    unsigned long state = piommu_context_lock_(device->context);

    device->waiting = false;
    for (size_t i = 0; i < device->id_count; i++) {
        struct endpoint *endpoint = device->ids[i].endpoint;

        if (has_bit(taken.made, i)) {
            endpoint->group = group;
            endpoint->next = group->endpoints;
            group->endpoints = endpoint;
            (void)piommu_range_tree_insert_(&endpoint->instance->endpoints, &endpoint->node);
        }
        if (has_bit(taken.fresh, i)) {
            endpoint->users++;
        }
        device->waiting = device->waiting || endpoint == NULL;
    }
    piommu_context_unlock_(device->context, state);
}

/* Moves everything from one group, which is freed, into another. Both are blocked. */
static void merge(struct piommu_group *into, struct piommu_group *from)
{
    struct piommu_context *context = into->context;
    struct piommu_device **end = &into->devices;
    unsigned long state = piommu_context_lock_(context);

    while (from->endpoints != NULL) {
        struct endpoint *endpoint = from->endpoints;

        from->endpoints = endpoint->next;
        endpoint->group = into;
        endpoint->next = into->endpoints;
        into->endpoints = endpoint;
    }
    /* At the end: a group is known by its first device. */
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = from->devices;
    for (struct piommu_device *device = from->devices; device != NULL; device = device->next) {
        device->group = into;
    }
    piommu_context_unlock_(context, state);
    piommu_host_free_(context->host, from, sizeof(*from));
}

/* Puts a device's group together with those to which the device belongs. The oldest stays. */
static void join(struct piommu_device *device)
{
    for (struct piommu_device *other = device->context->devices; other != NULL;
         other = other->peer) {
        if (other != device && other->group != device->group && belong_together(device, other)) {
            struct piommu_group *group = device->group;

            /* The first one found is the oldest: those after it go into it. */
            if (group->devices == device && device->next == NULL) {
                merge(other->group, group);
            } else {
                merge(group, other->group);
            }
        }
    }
}

/*
 * Attaches the group of a device that was just added, and is alone in it, or was completed, and is
 * the last one, where the host wants the first one to be.
 */
static int choose_domain(struct piommu_device *device, bool completed)
{
    const struct piommu_context_config *config = &device->context->config;
    struct piommu_group *group = device->group;
    struct piommu_domain *domain;

    if (config->choose_domain == NULL || group->domain != NULL ||
        (!completed && group->devices->next != NULL)) {
        return 0;
    }
    for (const struct piommu_device *other = group->devices; other != NULL; other = other->next) {
        if (other->waiting) {
            return 0;
        }
    }
    domain = config->choose_domain(config->cookie, group->devices);
    return domain != NULL ? piommu_group_attach(group, domain) : 0;
}

/* The end of a device's arrival: from here on it is in a domain or blocked. */
static int settle(struct piommu_device *device, bool completed)
{
    int error = choose_domain(device, completed);

    for (size_t i = 0; i < device->id_count; i++) {
        if (device->ids[i].endpoint != NULL && end_running(device->ids[i].endpoint) != 0 &&
            error == 0) {
            error = -PIOMMU_EFAILED;
        }
    }
    return error;
}

/*
 * Adds a device that was made, with its group; after a failure both are still the caller's. Not
 * inlined, as what it needs on the stack is not needed while the device is attached.
 */
static NEVER_INLINE int add(struct piommu_device *device)
{
    struct piommu_context *context = device->context;
    struct taken taken;
    unsigned long state;
    int error = joins_attached(device) ? -PIOMMU_EBUSY : take_endpoints(device, &taken);

    if (error != 0) {
        return error;
    }
    for (size_t i = 0; i < device->id_count; i++) {
        if (device->ids[i].instance != NULL) {
            device->ids[i].instance->users++;
        }
    }
    state = piommu_context_lock_(context);
    device->group->devices = device;
    piommu_context_unlock_(context, state);
    publish(device, taken);
    LIST_APPEND(context->devices, device);
    join(device);
    return 0;
}

/* Makes a device and adds it; what domain it comes into is still to be settled. */
static APART_IF_SHALLOW int make_and_add(struct piommu_context *context,
                                         const struct piommu_device_config *config,
                                         struct piommu_device **result)
{
    struct piommu_device *device;
    struct piommu_group *group;
    int error = check_config(context, config);

    if (error == 0) {
        error = make_device(context, config, &device);
    }
    if (error != 0) {
        return error;
    }
    group = piommu_host_alloc_(context->host, sizeof(*group));
    if (group != NULL) {
        group->context = context;
        device->group = group;
        error = add(device);
    } else {
        error = -PIOMMU_ENOMEM;
    }
    if (error != 0) {
        piommu_trace_device_(device, NULL, PIOMMU_EVENT_DEVICE_ADD, error);
        piommu_host_free_(context->host, group, sizeof(*group));
        free_device(device);
        return error;
    }
    *result = device;
    return 0;
}

int piommu_device_add(struct piommu_context *context, const struct piommu_device_config *config,
                      struct piommu_device **result)
{
    struct piommu_device *device;
    int error =
        config != NULL && result != NULL ? make_and_add(context, config, &device) : -PIOMMU_EINVAL;

    if (error != 0) {
        return error;
    }
    error = settle(device, false);
    piommu_trace_device_(device, device->group->domain, PIOMMU_EVENT_DEVICE_ADD, error);
    if (error == 0 || piommu_device_remove(device) != 0) {
        /* A device whose unit neither works nor stops cannot be made to have never been there. */
        *result = device;
    }
    return error;
}

/* Adds to a device what endpoints are there now; see add. */
static NEVER_INLINE int take_missing(struct piommu_device *device)
{
    struct taken taken;
    int error;

    for (size_t i = 0; i < device->id_count; i++) {
        struct device_id *id = &device->ids[i];

        if (id->instance == NULL) {
            id->instance = piommu_instance_by_key_(device->context, id->key);
            if (id->instance != NULL) {
                id->instance->users++;
            }
        }
    }
    error = take_endpoints(device, &taken);
    if (error != 0) {
        for (size_t i = 0; i < device->id_count; i++) {
            device->ids[i].broken = true;
        }
        return error;
    }
    publish(device, taken);
    join(device);
    return 0;
}

/* Tries to get what a device waits for. */
static void complete(struct piommu_device *device)
{
    int error;

    for (size_t i = 0; i < device->id_count; i++) {
        if (device->ids[i].broken) {
            return; /* nothing but its removal makes sense, and the host knows */
        }
    }
    error = take_missing(device);
    if (error == 0) {
        error = settle(device, true);
    }
    device->arriving = error != 0 || !device->waiting;
    device->arrival = error;
}

void piommu_devices_complete_(struct piommu_context *context)
{
    struct piommu_device *device;

    for (device = context->devices; device != NULL; device = device->peer) {
        if (device->waiting && !device->arriving) {
            complete(device);
        }
    }
    device = context->devices;
    while (device != NULL) {
        if (!device->arriving) {
            device = device->peer;
            continue;
        }
        device->arriving = false;
        piommu_trace_device_(device, device->group->domain, PIOMMU_EVENT_DEVICE_READY,
                             device->arrival);
        if (context->config.device_ready != NULL) {
            context->config.device_ready(context->config.cookie, device, device->arrival);
        }
        /* The host may have changed the list. */
        device = context->devices;
    }
}

/* Takes out a device and the endpoints that only it had, and returns these as a chain. */
static struct endpoint *unpublish(struct piommu_device *device)
{
    struct piommu_group *group = device->group;
    struct endpoint *unused = NULL;
    unsigned long state = piommu_context_lock_(device->context);

    CHAIN_REMOVE(group->devices, device);
    for (size_t i = 0; i < device->id_count; i++) {
        struct endpoint *endpoint = device->ids[i].endpoint;

        if (endpoint != NULL && --endpoint->users == 0) {
            CHAIN_REMOVE(group->endpoints, endpoint);
            piommu_range_tree_remove_(&endpoint->instance->endpoints, &endpoint->node);
            endpoint->next = unused;
            unused = endpoint;
        }
    }
    piommu_context_unlock_(device->context, state);
    return unused;
}

/*
 * Blocks the IDs that only this device has, in a group that stays attached for its other members.
 */
static int block_own_endpoints(struct piommu_device *device)
{
    struct piommu_domain *domain = device->group->domain;
    bool requests = domain_grants(domain) && !domain_takes_tables(domain);
    int error = 0;

    if (requests) {
        piommu_requests_begin_(domain);
    }
    for (size_t i = 0; i < device->id_count; i++) {
        struct endpoint *endpoint = device->ids[i].endpoint;

        if (endpoint != NULL && endpoint->users == 1 && piommu_endpoint_block_(endpoint) != 0) {
            error = -PIOMMU_EFAILED;
        }
    }
    if (requests) {
        piommu_requests_end_(domain);
    }
    return error;
}

/* Takes out of a domain what was mapped in it for a device that has left it. */
static void clean_up(struct piommu_domain *domain, const struct piommu_device *device,
                     const struct endpoint *endpoints)
{
    if (domain == NULL) {
        return;
    }
    for (size_t i = 0; i < device->region_count; i++) {
        piommu_direct_sweep_(domain, &device->regions[i]);
    }
    for (; endpoints != NULL; endpoints = endpoints->next) {
        for (const struct reserved_node *node = endpoints->facts.reserved; node != NULL;
             node = node->next) {
            piommu_direct_sweep_(domain, &node->region);
        }
    }
    piommu_bindings_drop_unused_(domain);
}

/* Frees a device that is in no list any more, with its endpoints. */
static void dispose(struct piommu_device *device, struct endpoint *endpoints)
{
    struct piommu_group *group = device->group;

    while (endpoints != NULL) {
        struct endpoint *next = endpoints->next;

        destroy_endpoint(endpoints);
        endpoints = next;
    }
    for (size_t i = 0; i < device->id_count; i++) {
        if (device->ids[i].instance != NULL) {
            device->ids[i].instance->users--;
        }
    }
    if (group->devices == NULL) {
        unsigned long state = piommu_context_lock_(group->context);

        piommu_group_forget_block_(group);
        piommu_context_unlock_(group->context, state);
        piommu_host_free_(group->context->host, group, sizeof(*group));
    } else {
        piommu_group_release_(group);
    }
    free_device(device);
}

int piommu_device_remove(struct piommu_device *device)
{
    struct piommu_group *group;
    struct piommu_domain *domain;
    struct endpoint *unused;
    unsigned long state;
    int error;

    if (device == NULL) {
        return 0;
    }
    group = device->group;
    domain = group->domain;
    if (group->devices == device && device->next == NULL && domain != NULL) {
        return -PIOMMU_EBUSY;
    }
    error = piommu_faults_leave_(device);
    if (error != 0) {
        return error;
    }
    piommu_group_acquire_(group);
    domain_finish_posts(domain);
    piommu_group_stop_failed_(group);
    error = block_own_endpoints(device);
    if (error != 0) {
        state = piommu_context_lock_(device->context);
        device->leaving = false;
        piommu_context_unlock_(device->context, state);
        piommu_group_release_(group);
        return error;
    }
    if (domain != NULL) {
        domain->reserved_regions -= piommu_regions_count_(domain, group);
    }
    unused = unpublish(device);
    if (domain != NULL) {
        domain->reserved_regions += piommu_regions_count_(domain, group);
    }
    LIST_REMOVE(device->context->devices, device);
    piommu_faults_purge_(device->context, device, NULL);
    piommu_trace_device_(device, NULL, PIOMMU_EVENT_DEVICE_REMOVE, 0);
    clean_up(domain, device, unused);
    dispose(device, unused);
    return 0;
}

void piommu_device_get_info(const struct piommu_device *device, struct piommu_device_info *info)
{
    unsigned long state = piommu_context_lock_(device->context);

    info->name = device->name;
    info->owner = device->owner;
    info->untrusted = device->untrusted;
    info->waiting = device->waiting;
    info->id_count = device->id_count;
    info->group = device->group;
    info->domain = device->group->domain;
    info->fault_blocked = device->group->fault_blocked;
    piommu_context_unlock_(device->context, state);
}

static enum piommu_id_state state_of(const struct device_id *id)
{
    const struct endpoint *endpoint = id->endpoint;

    if (endpoint == NULL) {
        return PIOMMU_ID_WAITING;
    }
    if (endpoint->binding == NULL) {
        return PIOMMU_ID_BLOCKED;
    }
    if (instance_failed(endpoint->instance)) {
        return instance_stopped(endpoint->instance) ? PIOMMU_ID_BLOCKED : PIOMMU_ID_DOUBTFUL;
    }
    return endpoint->group->fault_blocked ? PIOMMU_ID_BLOCKED : PIOMMU_ID_ATTACHED;
}

int piommu_device_get_id(const struct piommu_device *device, size_t index,
                         struct piommu_id_info *info)
{
    const struct device_id *id;
    unsigned long state;

    if (device == NULL || info == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (index >= device->id_count) {
        return -PIOMMU_ENOENT;
    }
    id = &device->ids[index];
    state = piommu_context_lock_(device->context);
    info->instance = id->endpoint != NULL ? id->instance : NULL;
    info->key = id->key;
    info->id = id->id;
    info->state = state_of(id);
    piommu_context_unlock_(device->context, state);
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
    if (index < device->region_count) {
        *region = device->regions[index];
        return 0;
    }
    index -= device->region_count;
    for (size_t i = 0; i < device->id_count; i++) {
        const struct reserved_node *node =
            device->ids[i].endpoint != NULL ? device->ids[i].endpoint->facts.reserved : NULL;

        for (; node != NULL; node = node->next) {
            if (index-- == 0) {
                *region = node->region;
                return 0;
            }
        }
    }
    return -PIOMMU_ENOENT;
}
