/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core.h"

#define DEFAULT_TIMEOUT 1000000000ull /* one second */

static bool backend_complete(const struct piommu_backend *backend)
{
    if (backend == NULL || backend->size < sizeof(*backend) || backend->name == NULL ||
        backend->probe == NULL || backend->remove == NULL || backend->stop == NULL ||
        backend->add_endpoint == NULL || backend->release_endpoint == NULL ||
        backend->domain_create == NULL || backend->domain_destroy == NULL ||
        backend->attach == NULL || backend->block == NULL || backend->service == NULL) {
        return false;
    }
    if (backend->kind == PIOMMU_BACKEND_TABLES) {
        return backend->invalidate != NULL;
    }
    return backend->map != NULL && backend->unmap != NULL;
}

static bool info_plausible(const struct piommu_backend_info *info)
{
    return info->aperture.first <= info->aperture.last && info->leaf_sizes != 0 &&
           (info->prot & ~PIOMMU_PROT_ALL) == 0;
}

static int start(struct piommu_instance *instance, const void *backend_config)
{
    int error;

    instance->lock = instance->host.os->lock_create(instance->host.ctx);
    if (instance->lock == NULL) {
        return -PIOMMU_ENOMEM;
    }
    error = instance->backend->probe(instance->host, instance, &instance->config, backend_config,
                                     &instance->unit, &instance->info);
    if (error == 0 && !info_plausible(&instance->info)) {
        (void)instance->backend->remove(instance->unit);
        error = -PIOMMU_EBADMSG;
    }
    if (error != 0) {
        instance->host.os->lock_destroy(instance->host.ctx, instance->lock);
    }
    return error;
}

int piommu_instance_create(struct piommu_context *context, const struct piommu_backend *backend,
                           const void *backend_config, const struct piommu_instance_config *config,
                           struct piommu_instance **result)
{
    struct piommu_instance *instance;
    int error;

    if (context == NULL || result == NULL || !backend_complete(backend)) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_host_check_(context->host, backend->needs | PIOMMU_OS_NEED_LOCK);
    if (error != 0) {
        return error;
    }
    instance = piommu_host_alloc(context->host, sizeof(*instance));
    if (instance == NULL) {
        return -PIOMMU_ENOMEM;
    }
    instance->context = context;
    instance->host = context->host;
    instance->backend = backend;
    if (config != NULL) {
        instance->config = *config;
    }
    if (instance->config.name == NULL) {
        instance->config.name = backend->name;
    }
    if (instance->config.timeout == 0) {
        instance->config.timeout = DEFAULT_TIMEOUT;
    }
    error = start(instance, backend_config);
    if (error != 0) {
        piommu_host_log_(context->host, PIOMMU_LOG_ERROR, "%s: not started: %s",
                         instance->config.name, piommu_strerror(error));
        piommu_host_free(context->host, instance, sizeof(*instance));
        return error;
    }
    LIST_APPEND(context->instances, instance);
    *result = instance;
    return 0;
}

int piommu_instance_destroy(struct piommu_instance *instance)
{
    int error;

    if (instance == NULL) {
        return 0;
    }
    if (instance->devices != NULL || instance->domains != NULL) {
        return -PIOMMU_EBUSY;
    }
    error = instance->backend->remove(instance->unit);
    if (error != 0) {
        return error;
    }
    LIST_REMOVE(instance->context->instances, instance);
    instance->host.os->lock_destroy(instance->host.ctx, instance->lock);
    piommu_host_free(instance->host, instance, sizeof(*instance));
    return 0;
}

void piommu_instance_get_info(struct piommu_instance *instance, struct piommu_instance_info *info)
{
    unsigned long state;

    info->name = instance->config.name;
    info->backend = instance->backend->name;
    info->aperture = instance->info.aperture;
    info->granule = instance_granule(instance);
    info->leaf_sizes = instance->info.leaf_sizes;
    info->prot = instance->info.prot;
    info->write_only = instance->info.write_only;
    info->identity = instance->info.identity;
    info->failed = instance_failed(instance);
    state = piommu_host_lock(instance->host, instance->lock);
    info->faults = instance->faults;
    piommu_host_unlock(instance->host, instance->lock, state);
}

/* Names the devices of a unit that does not stop: nobody can say what they reach. */
static void log_unblocked(struct piommu_instance *instance)
{
    uint64_t id = 0;

    for (;;) {
        unsigned long state = piommu_host_lock(instance->host, instance->lock);
        const struct range_node *node = piommu_range_tree_from_(&instance->endpoints, id);
        bool found = node != NULL;
        const char *name = NULL;

        if (found) {
            id = node->first;
            name = RANGE_TREE_ENTRY(node, struct endpoint, node)->group->devices->name;
        }
        piommu_host_unlock(instance->host, instance->lock, state);
        if (!found) {
            return;
        }
        piommu_host_log_(instance->host, PIOMMU_LOG_ERROR,
                         "%s: device %s, ID %x may not be blocked", instance->config.name, name,
                         id);
        id++;
    }
}

bool piommu_instance_stopped_(struct piommu_instance *instance)
{
    if (atomic_load_explicit(&instance->stopped, memory_order_acquire) != 0) {
        return true;
    }
    /* One at a time; who comes second learns that it is not confirmed yet. */
    if (atomic_exchange_explicit(&instance->stopping, 1, memory_order_acq_rel) != 0) {
        return false;
    }
    if (atomic_load_explicit(&instance->stopped, memory_order_acquire) == 0 &&
        instance->backend->stop(instance->unit) == 0) {
        atomic_store_explicit(&instance->stopped, 1, memory_order_release);
    } else if (atomic_load_explicit(&instance->stopped, memory_order_acquire) == 0) {
        log_unblocked(instance);
    }
    atomic_store_explicit(&instance->stopping, 0, memory_order_release);
    return atomic_load_explicit(&instance->stopped, memory_order_acquire) != 0;
}

int piommu_instance_fail_(struct piommu_instance *instance, int error)
{
    if (atomic_exchange_explicit(&instance->failed, 1, memory_order_acq_rel) == 0) {
        piommu_host_log_(instance->host, PIOMMU_LOG_ERROR, "%s: failed: %s; stopping it",
                         instance->config.name, piommu_strerror(error));
        (void)piommu_instance_stopped_(instance);
    }
    return -PIOMMU_EFAILED;
}

int piommu_instance_judge_(struct piommu_instance *instance, int error)
{
    if (error == -PIOMMU_ETIMEDOUT || error == -PIOMMU_EFAILED) {
        return piommu_instance_fail_(instance, error);
    }
    return error;
}

int piommu_instance_service(struct piommu_instance *instance, unsigned int budget)
{
    int handled;

    if (instance == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (instance_failed(instance)) {
        return -PIOMMU_EFAILED;
    }
    handled = instance->backend->service(instance->unit, budget);
    if (handled < 0) {
        return piommu_instance_fail_(instance, handled);
    }
    return handled;
}

/*
 * The device that has an ID; NULL if several have it, since nobody can tell which of them it was.
 */
static const struct piommu_device *only_user(const struct endpoint *endpoint)
{
    if (endpoint->users != 1) {
        return NULL;
    }
    for (const struct piommu_device *device = endpoint->group->devices; device != NULL;
         device = device->next) {
        for (size_t i = 0; i < device->endpoint_count; i++) {
            if (device->endpoints[i] == endpoint) {
                return device;
            }
        }
    }
    return NULL;
}

void piommu_backend_report_fault(struct piommu_instance *instance,
                                 const struct piommu_backend_fault *raw)
{
    const struct piommu_context_config *config = &instance->context->config;
    struct piommu_fault fault = {.instance_owner = instance->config.owner,
                                 .instance_name = instance->config.name,
                                 .id = raw->id,
                                 .reason = raw->reason,
                                 .iova_valid = raw->iova_valid,
                                 .read = raw->read,
                                 .write = raw->write,
                                 .iova = raw->iova,
                                 .raw = raw->raw};
    unsigned long state = piommu_host_lock(instance->host, instance->lock);
    const struct range_node *node = piommu_range_tree_from_(&instance->endpoints, raw->id);

    instance->faults++;
    if (node != NULL && node->first == raw->id) {
        const struct endpoint *endpoint = RANGE_TREE_ENTRY(node, struct endpoint, node);
        const struct piommu_device *device = only_user(endpoint);

        if (device != NULL) {
            fault.device_owner = device->owner;
            fault.device_name = device->name;
        }
        if (endpoint->group->domain != NULL) {
            fault.domain_owner = endpoint->group->domain->config.owner;
        }
    }
    piommu_host_unlock(instance->host, instance->lock, state);
    if (config->fault != NULL) {
        config->fault(config->fault_cookie, &fault);
    }
}
