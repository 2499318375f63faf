/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Instances: how they come, in any order, how they fail, and how they go. */

#include "core.h"

#define DEFAULT_TIMEOUT 1000000000ull /* one second */

static bool backend_complete(const struct piommu_backend *backend)
{
    if (backend == NULL || backend->size < sizeof(*backend) || backend->name == NULL ||
        backend->probe == NULL || backend->remove == NULL || backend->stop == NULL ||
        backend->add_endpoint == NULL || backend->release_endpoint == NULL ||
        backend->domain_create == NULL || backend->domain_destroy == NULL ||
        backend->attach == NULL || backend->block == NULL || backend->service == NULL ||
        (backend->suspend == NULL) != (backend->resume == NULL)) {
        return false;
    }
    if (backend->kind == PIOMMU_BACKEND_TABLES) {
        return backend->invalidate != NULL;
    }
    return backend->map != NULL && backend->unmap != NULL &&
           (backend->post_map != NULL) == (backend->poll != NULL) &&
           (backend->post_unmap != NULL) == (backend->poll != NULL);
}

static bool info_plausible(const struct piommu_backend_info *info)
{
    return info->aperture.first <= info->aperture.last && info->leaf_sizes != 0 &&
           info->output_bits <= 64 && (info->prot & ~PIOMMU_PROT_ALL) == 0;
}

struct piommu_instance *piommu_instance_by_key_(const struct piommu_context *context, uint64_t key)
{
    struct piommu_instance *instance = key != 0 ? context->instances : NULL;

    while (instance != NULL && instance->config.key != key) {
        instance = instance->peer;
    }
    return instance;
}

/* Starts the unit of an instance whose parent, if it is to have one, is there. */
static int start(struct piommu_instance *instance, struct piommu_instance *parent)
{
    const struct piommu_backend *backend = instance->backend;
    int error;

    if (parent != NULL && parent->backend != backend) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (parent != NULL && instance_failed(parent)) {
        return -PIOMMU_EFAILED;
    }
    if (parent != NULL && instance_suspended(parent)) {
        return -PIOMMU_EBUSY;
    }
    error = backend->probe(instance->host, instance, &instance->config, instance->backend_config,
                           parent != NULL ? parent->unit : NULL, &instance->unit, &instance->info);
    if (error == 0 && !info_plausible(&instance->info)) {
        error = -PIOMMU_EBADMSG;
        if (backend->remove(instance->unit) != 0) {
            piommu_host_log_(instance->host, PIOMMU_LOG_ERROR,
                             "%s: the unit does not stop; its memory is lost",
                             text_value(instance->config.name), 0, 0);
        }
    }
    /* It was lost before it was anybody's. */
    error = error == -PIOMMU_EFAILED ? -PIOMMU_EIO : error;
    if (error != 0) {
        instance->unit = NULL;
        piommu_host_log_(instance->host, PIOMMU_LOG_ERROR, "%s: not started: %s",
                         text_value(instance->config.name), text_value(piommu_strerror(error)), 0);
        return error;
    }
    if (parent != NULL) {
        instance->parent = parent;
        parent->users++;
    }
    return 0;
}

/* The parent that an instance waits for, if it runs now. */
static struct piommu_instance *find_parent(const struct piommu_instance *instance)
{
    struct piommu_instance *parent =
        piommu_instance_by_key_(instance->context, instance->config.parent_key);

    return parent != NULL && !parent->waiting ? parent : NULL;
}

/* Starts the instances whose parent has come, and tells the host. */
static void start_waiting(struct piommu_context *context)
{
    struct piommu_instance *instance = context->instances;

    while (instance != NULL) {
        struct piommu_instance *parent = instance->waiting ? find_parent(instance) : NULL;
        int error;

        if (parent == NULL) {
            instance = instance->peer;
            continue;
        }
        unsigned long state;

        error = start(instance, parent);
        state = piommu_context_lock_(context);
        instance->waiting = false;
        piommu_context_unlock_(context, state);
        if (error != 0) {
            atomic_store_explicit(&instance->stopped, 1, memory_order_release);
            atomic_store_explicit(&instance->tried, 1, memory_order_release);
            atomic_store_explicit(&instance->failed, 1, memory_order_release);
        }
        piommu_trace_instance_(instance, PIOMMU_EVENT_INSTANCE_START, error);
        if (context->config.instance_ready != NULL) {
            context->config.instance_ready(context->config.cookie, instance, error);
        }
        /* The host may have changed the list, and others may have waited for this one. */
        instance = context->instances;
    }
}

static void free_instance(struct piommu_instance *instance)
{
    piommu_host_free_(instance->host, instance->records,
                      instance->config.fault_records * sizeof(*instance->records));
    piommu_host_free_(instance->host, instance, sizeof(*instance));
}

/* Makes the object, with all that it needs but its unit. */
static struct piommu_instance *make_object(struct piommu_context *context,
                                           const struct piommu_backend *backend,
                                           const void *backend_config,
                                           const struct piommu_instance_config *config)
{
    struct piommu_instance *instance = piommu_host_alloc_(context->host, sizeof(*instance));

    if (instance == NULL) {
        return NULL;
    }
    instance->context = context;
    instance->host = context->host;
    instance->backend = backend;
    instance->backend_config = backend_config;
    if (config != NULL) {
        instance->config = *config;
    }
    if (instance->config.name == NULL) {
        instance->config.name = backend->name;
    }
    if (instance->config.timeout == 0) {
        instance->config.timeout = DEFAULT_TIMEOUT;
    }
    if (instance->config.fault_records != 0) {
        if ((uint64_t)instance->config.fault_records * sizeof(*instance->records) <= SIZE_MAX / 2) {
            instance->records = piommu_host_alloc_(context->host, instance->config.fault_records *
                                                                      sizeof(*instance->records));
        }
        if (instance->records == NULL) {
            piommu_host_free_(context->host, instance, sizeof(*instance));
            return NULL;
        }
    }
    return instance;
}

/* Checks the arguments, makes the object, and starts its unit, unless it waits for its parent. */
static APART_IF_SHALLOW int create(struct piommu_context *context,
                                   const struct piommu_backend *backend, const void *backend_config,
                                   const struct piommu_instance_config *config,
                                   struct piommu_instance **result)
{
    struct piommu_instance *instance;
    struct piommu_instance *parent;
    int error;

    if (context == NULL || result == NULL || !backend_complete(backend) ||
        (config != NULL && config->key != 0 && config->parent_key == config->key)) {
        return -PIOMMU_EINVAL;
    }
    if (!PIOMMU_CORE_WITH_TABLES && backend->kind == PIOMMU_BACKEND_TABLES) {
        return -PIOMMU_EOPNOTSUPP;
    }
    error = piommu_host_check_(context->host, backend->needs | PIOMMU_OS_NEED_LOCK);
    if (error != 0) {
        return error;
    }
    if (config != NULL && piommu_instance_by_key_(context, config->key) != NULL) {
        return -PIOMMU_EEXIST;
    }
    instance = make_object(context, backend, backend_config, config);
    if (instance == NULL) {
        return -PIOMMU_ENOMEM;
    }
    parent = find_parent(instance);
    if (instance->config.parent_key != 0 && parent == NULL) {
        instance->waiting = true;
    } else {
        error = start(instance, parent);
        piommu_trace_instance_(instance, PIOMMU_EVENT_INSTANCE_START, error);
    }
    if (error != 0) {
        free_instance(instance);
        return error;
    }
    LIST_APPEND(context->instances, instance);
    *result = instance;
    return 0;
}

int piommu_instance_create(struct piommu_context *context, const struct piommu_backend *backend,
                           const void *backend_config, const struct piommu_instance_config *config,
                           struct piommu_instance **result)
{
    int error = create(context, backend, backend_config, config, result);

    if (error == 0 && !(*result)->waiting) {
        start_waiting(context);
        piommu_devices_complete_(context);
    }
    return error;
}

int piommu_instance_destroy(struct piommu_instance *instance)
{
    if (instance == NULL) {
        return 0;
    }
    if (instance->users != 0) {
        return -PIOMMU_EBUSY;
    }
    if (instance->unit != NULL) {
        int error = instance->backend->remove(instance->unit);

        if (error != 0) {
            return error;
        }
    }
    piommu_trace_instance_(instance, PIOMMU_EVENT_INSTANCE_STOP, 0);
    if (instance->parent != NULL) {
        instance->parent->users--;
    }
    LIST_REMOVE(instance->context->instances, instance);
    free_instance(instance);
    return 0;
}

static enum piommu_instance_state state_of(struct piommu_instance *instance)
{
    if (instance_failed(instance)) {
        return PIOMMU_INSTANCE_FAILED;
    }
    if (instance->waiting) {
        return PIOMMU_INSTANCE_WAITING;
    }
    return instance_suspended(instance) ? PIOMMU_INSTANCE_SUSPENDED : PIOMMU_INSTANCE_RUNNING;
}

void piommu_instance_get_info(struct piommu_instance *instance, struct piommu_instance_info *info)
{
    const struct piommu_backend_info *hardware = &instance->info;
    unsigned long state = piommu_context_lock_(instance->context);

    *info = (struct piommu_instance_info){.name = instance->config.name,
                                          .backend = instance->backend->name,
                                          .owner = instance->config.owner,
                                          .state = state_of(instance)};
    info->faults = instance->faults;
    info->faults_held_back = instance->faults_held_back;
    info->faults_dropped = instance->faults_dropped;
    info->failed = instance_failed(instance);
    info->invalidations = atomic_load_explicit(&instance->invalidations, memory_order_relaxed);
    info->tables = instance->backend->kind == PIOMMU_BACKEND_TABLES;
    info->suspend = PIOMMU_CORE_WITH_POWER && instance->backend->suspend != NULL;
    piommu_context_unlock_(instance->context, state);
    if (info->state == PIOMMU_INSTANCE_WAITING) {
        return; /* its unit fills in the rest when it starts */
    }
    info->aperture = hardware->aperture;
    info->granule = lowest_bit(hardware->leaf_sizes);
    info->leaf_sizes = hardware->leaf_sizes;
    info->prot = hardware->prot;
    info->write_only = hardware->write_only;
    info->identity = hardware->identity;
    info->shared = hardware->shared.formats != 0;
    info->atomic_switch = hardware->atomic_switch;
}

/* The lowest ID from `id` on that an endpoint of the instance has, and its device's name. */
static APART_IF_SHALLOW const char *find_endpoint(struct piommu_instance *instance, uint64_t *id)
{
    unsigned long state = piommu_context_lock_(instance->context);
    const struct range_node *node = piommu_range_tree_from_(&instance->endpoints, *id);
    const char *name = NULL;

    if (node != NULL) {
        *id = node->first;
        name = RANGE_TREE_ENTRY(node, struct endpoint, node)->group->devices->name;
        name = name != NULL ? name : "(none)";
    }
    piommu_context_unlock_(instance->context, state);
    return name;
}

/*
 * Names the devices of a unit that does not stop: nobody can say what they reach. Returns what it
 * is given, so that nothing of the caller is left on the stack.
 */
static APART_IF_SHALLOW int log_unblocked(struct piommu_instance *instance, int result)
{
    const char *name;

    for (uint64_t id = 0; (name = find_endpoint(instance, &id)) != NULL; id++) {
        piommu_host_log_(instance->host, PIOMMU_LOG_ERROR,
                         "%s: device %s, ID %x may not be blocked",
                         text_value(instance->config.name), text_value(name), id);
    }
    return result;
}

/* Stops the unit, if nobody else is at it. Returns what it is given, as log_unblocked does. */
static NEVER_INLINE int try_to_stop(struct piommu_instance *instance, int result)
{
    bool fails;

    atomic_store_explicit(&instance->tried, 1, memory_order_release);
    /* One at a time; who comes second learns that it is not confirmed yet. */
    if (atomic_exchange_explicit(&instance->stopping, 1, memory_order_acq_rel) != 0) {
        return result;
    }
    fails = !instance_stopped(instance) && instance->backend->stop(instance->unit) != 0;
    if (!fails) {
        atomic_store_explicit(&instance->stopped, 1, memory_order_release);
    }
    atomic_store_explicit(&instance->stopping, 0, memory_order_release);
    return fails ? log_unblocked(instance, result) : result;
}

bool piommu_instance_stopped_(struct piommu_instance *instance)
{
    if (!instance_stopped(instance)) {
        (void)try_to_stop(instance, 0);
    }
    return instance_stopped(instance);
}

static APART_IF_SHALLOW int log_failure(struct piommu_instance *instance, int error)
{
    piommu_host_log_(instance->host, PIOMMU_LOG_ERROR, "%s: failed: %s; stopping it",
                     text_value(instance->config.name), text_value(piommu_strerror(error)), 0);
    return -PIOMMU_EFAILED;
}

int piommu_instance_note_failure_(struct piommu_instance *instance, int error)
{
    /* The one call that does this tells the host, before anything that may take long. */
    if (atomic_exchange_explicit(&instance->failed, 1, memory_order_acq_rel) != 0) {
        return -PIOMMU_EFAILED;
    }
    piommu_trace_instance_(instance, PIOMMU_EVENT_INSTANCE_FAIL, error);
    return log_failure(instance, error);
}

int piommu_instance_fail_(struct piommu_instance *instance, int error)
{
    (void)piommu_instance_note_failure_(instance, error);
    /* Who was first may not have been allowed to wait. */
    return instance_untouched(instance) ? try_to_stop(instance, -PIOMMU_EFAILED) : -PIOMMU_EFAILED;
}

void piommu_backend_report_failure(struct piommu_instance *instance, int error)
{
    (void)piommu_instance_fail_(instance, error);
}

int piommu_instance_judge_(struct piommu_instance *instance, int error)
{
    if (error == -PIOMMU_ETIMEDOUT || error == -PIOMMU_EFAILED) {
        return piommu_instance_fail_(instance, error);
    }
    return error;
}
