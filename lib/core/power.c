/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Units without power. What the library knows stays; endpoints count as being in their domains, and
 * are not so in hardware until the unit is programmed again.
 */

#include "core.h"

/* Notes that no endpoint of the instance is in its domain any more. */
static void note_all_out(struct piommu_instance *instance)
{
    const struct range_node *node = piommu_range_tree_from_(&instance->endpoints, 0);

    while (node != NULL) {
        struct endpoint *endpoint = RANGE_TREE_ENTRY(node, struct endpoint, node);

        endpoint->out = endpoint->binding != NULL;
        endpoint->cut_off = false;
        node = piommu_range_tree_next_(node);
    }
    for (struct binding *binding = instance->bindings; binding != NULL; binding = binding->peer) {
        binding->live = 0;
    }
}

/* What is under way in a domain is told to a unit, or it is not: nobody could say in between. */
static void finish_posts(const struct piommu_instance *instance)
{
    for (const struct binding *binding = instance->bindings; binding != NULL;
         binding = binding->peer) {
        domain_finish_posts(binding->domain);
    }
}

static void set_suspended(struct piommu_instance *instance, bool suspended)
{
    unsigned long state = piommu_context_lock_(instance->context);

    instance->suspended = suspended;
    piommu_context_unlock_(instance->context, state);
}

static bool child_runs(const struct piommu_instance *parent)
{
    for (struct piommu_instance *child = parent->context->instances; child != NULL;
         child = child->peer) {
        if (child->parent == parent && !child->suspended && !instance_failed(child)) {
            return true;
        }
    }
    return false;
}

static int suspend(struct piommu_instance *instance)
{
    int error;

    if (instance_failed(instance)) {
        return -PIOMMU_EFAILED;
    }
    if (instance->suspended) {
        return 0;
    }
    if (!PIOMMU_CORE_WITH_POWER || instance->backend->suspend == NULL) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (instance->waiting || child_runs(instance)) {
        return -PIOMMU_EBUSY;
    }
    finish_posts(instance);
    if (instance_failed(instance)) {
        return -PIOMMU_EFAILED;
    }
    error = instance->backend->suspend(instance->unit);
    if (error != 0) {
        return piommu_instance_fail_(instance, error);
    }
    set_suspended(instance, true);
    note_all_out(instance);
    return 0;
}

int piommu_instance_suspend(struct piommu_instance *instance)
{
    int error;

    if (instance == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = suspend(instance);
    piommu_trace_instance_(instance, PIOMMU_EVENT_INSTANCE_SUSPEND, error);
    return error;
}

/* Brings back the endpoints that are to be in domains. */
static int reenter(struct piommu_instance *instance)
{
    const struct range_node *node = piommu_range_tree_from_(&instance->endpoints, 0);
    int error = 0;

    while (node != NULL && error == 0) {
        struct endpoint *endpoint = RANGE_TREE_ENTRY(node, struct endpoint, node);

        if (endpoint->binding != NULL && !endpoint->group->fault_blocked &&
            !endpoint->group->block_wanted) {
            error = piommu_endpoint_enter_(endpoint);
        }
        node = piommu_range_tree_next_(node);
    }
    return error;
}

/* Programs a unit that holds nothing, from what the library knows. */
static int program(struct piommu_instance *instance)
{
    int error = instance->backend->resume(instance->unit);

    if (error == 0) {
        error = reenter(instance);
    }
    /* If not all are where they belong, nobody has asked for less. */
    return error != 0 ? piommu_instance_fail_(instance, error) : 0;
}

static int resume(struct piommu_instance *instance)
{
    if (instance_failed(instance)) {
        return -PIOMMU_EFAILED;
    }
    if (!instance->suspended) {
        return 0;
    }
    if (instance->parent != NULL && instance->parent->suspended &&
        !instance_failed(instance->parent)) {
        return -PIOMMU_EBUSY;
    }
    finish_posts(instance);
    set_suspended(instance, false);
    if (instance->parent != NULL && instance_failed(instance->parent)) {
        /* What it is a part of does not work. */
        return piommu_instance_fail_(instance, -PIOMMU_EFAILED);
    }
    return program(instance);
}

int piommu_instance_resume(struct piommu_instance *instance)
{
    int error;

    if (instance == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = resume(instance);
    piommu_trace_instance_(instance, PIOMMU_EVENT_INSTANCE_RESUME, error);
    return error;
}

/* Takes out of their domains what was there in doubt, while its group is somewhere else. */
static void forget_doubts(struct piommu_instance *instance)
{
    const struct range_node *node = piommu_range_tree_from_(&instance->endpoints, 0);

    while (node != NULL) {
        struct endpoint *endpoint = RANGE_TREE_ENTRY(node, struct endpoint, node);

        if (endpoint->binding != NULL && endpoint->binding->domain != endpoint->group->domain) {
            struct piommu_domain *domain = endpoint->binding->domain;

            piommu_endpoint_uncount_(endpoint);
            piommu_bindings_drop_unused_(domain);
        }
        node = piommu_range_tree_next_(node);
    }
}

/* Forgets that a unit has failed. All that was in its domains is known to be blocked. */
static void forget_failure(struct piommu_instance *instance)
{
    unsigned long state;

    forget_doubts(instance);
    note_all_out(instance);
    for (struct binding *binding = instance->bindings; binding != NULL; binding = binding->peer) {
        binding->doubtful = false;
    }
    state = piommu_context_lock_(instance->context);
    instance->suspended = false;
    atomic_store_explicit(&instance->tried, 0, memory_order_relaxed);
    atomic_store_explicit(&instance->stopped, 0, memory_order_relaxed);
    atomic_store_explicit(&instance->failed, 0, memory_order_release);
    piommu_context_unlock_(instance->context, state);
}

/* Completes groups of which the failure has left some IDs blocked, here or behind other units. */
static int complete_groups(struct piommu_instance *instance)
{
    const struct range_node *node = piommu_range_tree_from_(&instance->endpoints, 0);
    int result = 0;

    while (node != NULL) {
        int error = piommu_group_complete_(RANGE_TREE_ENTRY(node, struct endpoint, node)->group);

        result = result != 0 ? result : error;
        node = piommu_range_tree_next_(node);
    }
    return result;
}

static int recover(struct piommu_instance *instance)
{
    int error;

    if (!instance_failed(instance)) {
        return 0;
    }
    if (!PIOMMU_CORE_WITH_POWER || instance->backend->resume == NULL) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (instance->unit == NULL || (instance->parent != NULL && (instance_failed(instance->parent) ||
                                                                instance->parent->suspended))) {
        return -PIOMMU_EBUSY;
    }
    if (!piommu_instance_stopped_(instance)) {
        return -PIOMMU_ETIMEDOUT;
    }
    finish_posts(instance);
    forget_failure(instance);
    error = program(instance);
    return error != 0 ? error : complete_groups(instance);
}

int piommu_instance_recover(struct piommu_instance *instance)
{
    int error;

    if (instance == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = recover(instance);
    piommu_trace_instance_(instance, PIOMMU_EVENT_INSTANCE_RECOVER, error);
    return error;
}
