/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Moving groups between domains. All IDs of a group move, or none does; between two domains an ID
 * is in one of them or blocked, never free.
 */

#include "core.h"

void piommu_group_want_block_(struct piommu_group *group)
{
    if (!group->block_wanted) {
        group->block_wanted = true;
        group->next_block = group->context->blocks;
        group->context->blocks = group;
    }
}

void piommu_group_forget_block_(struct piommu_group *group)
{
    struct piommu_group **link = &group->context->blocks;

    if (group->block_wanted) {
        while (*link != group) {
            link = &(*link)->next_block;
        }
        *link = group->next_block;
        group->block_wanted = false;
    }
}

void piommu_group_acquire_(struct piommu_group *group)
{
    struct piommu_context *context = group->context;

    for (;;) {
        unsigned long state = piommu_context_lock_(context);
        bool free = !group->busy;

        if (free) {
            group->busy = true;
        }
        piommu_context_unlock_(context, state);
        if (free) {
            return;
        }
        /* Servicing has it, and each of its waits has a deadline. */
        pause_for_other(context);
    }
}

void piommu_group_release_(struct piommu_group *group)
{
    struct piommu_context *context = group->context;

    for (;;) {
        unsigned long state = piommu_context_lock_(context);
        bool wanted = group->block_wanted;

        piommu_group_forget_block_(group);
        if (!wanted) {
            group->busy = false;
        }
        piommu_context_unlock_(context, state);
        if (!wanted) {
            return;
        }
        piommu_group_block_(group);
    }
}

void piommu_group_stop_failed_(const struct piommu_group *group)
{
    for (const struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        const struct endpoint *earlier = group->endpoints;

        while (earlier->instance != endpoint->instance) {
            earlier = earlier->next;
        }
        if (earlier == endpoint && instance_failed(endpoint->instance)) {
            (void)piommu_instance_stopped_(endpoint->instance);
        }
    }
}

static bool takes_requests(const struct piommu_domain *domain)
{
    return !domain_takes_tables(domain);
}

/* Takes an endpoint out of hardware's view of its domain, in the books. */
static void note_out(struct endpoint *endpoint)
{
    endpoint->cut_off = false;
    if (!endpoint->out) {
        endpoint->out = true;
        if (takes_requests(endpoint->binding->domain)) {
            endpoint->binding->live--;
        }
    }
}

static void note_in(struct endpoint *endpoint)
{
    endpoint->out = false;
    if (takes_requests(endpoint->binding->domain)) {
        endpoint->binding->live++;
    }
}

/*
 * With its last endpoint a device forgets a domain: nobody may send it mappings while endpoints
 * come and go, whoever makes them do so.
 */
static void begin_moving(struct piommu_domain *domain)
{
    if (domain_grants(domain) && takes_requests(domain)) {
        piommu_requests_begin_(domain);
    }
}

static void end_moving(struct piommu_domain *domain)
{
    if (domain_grants(domain) && takes_requests(domain)) {
        piommu_requests_end_(domain);
    }
}

/* Blocks an endpoint in hardware. A unit that does not obey fails. */
static int block(const struct endpoint *endpoint)
{
    struct piommu_instance *instance = endpoint->instance;
    int error = instance->backend->block(instance->unit, endpoint->handle);

    return error != 0 ? piommu_instance_fail_(instance, error) : 0;
}

void piommu_group_block_(struct piommu_group *group)
{
    struct piommu_domain *domain = group->domain;
    unsigned long state;

    if (!domain_grants(domain) || group->block_done) {
        return;
    }
    begin_moving(domain);
    for (struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        if (endpoint->out || endpoint->binding == NULL) {
            continue;
        }
        if (instance_usable(endpoint->instance)) {
            (void)block(endpoint);
        }
        note_out(endpoint);
    }
    end_moving(domain);
    state = piommu_context_lock_(group->context);
    group->fault_blocked = true;
    group->block_done = true;
    piommu_context_unlock_(group->context, state);
    piommu_trace_device_(group->devices, domain, PIOMMU_EVENT_FAULT_BLOCK, 0);
}

void piommu_endpoint_uncount_(struct endpoint *endpoint)
{
    struct binding *binding = endpoint->binding;

    if (binding != NULL) {
        note_out(endpoint);
        endpoint->binding = NULL;
        binding->endpoints--;
        binding->domain->statistics.endpoints--;
    }
    endpoint->out = false;
}

static void count(struct endpoint *endpoint, struct binding *binding)
{
    endpoint->binding = binding;
    note_in(endpoint);
    binding->endpoints++;
    binding->domain->statistics.endpoints++;
}

int piommu_endpoint_block_(struct endpoint *endpoint)
{
    struct piommu_instance *instance = endpoint->instance;

    if (endpoint->binding == NULL) {
        return 0;
    }
    if (!endpoint->out && instance_usable(instance)) {
        (void)block(endpoint);
    }
    if (instance_failed(instance) && instance_untouched(instance)) {
        /* Another CPU has found it broken where it could not wait. */
        (void)piommu_instance_stopped_(instance);
    }
    if (instance_failed(instance) && !instance_stopped(instance)) {
        return -PIOMMU_EFAILED;
    }
    piommu_endpoint_uncount_(endpoint);
    return 0;
}

/* Tells hardware that an endpoint is in the domain of a binding. */
static int program(const struct endpoint *endpoint, struct binding *binding)
{
    struct piommu_instance *instance = endpoint->instance;
    int error = piommu_instance_judge_(
        instance, instance->backend->attach(instance->unit, endpoint->handle, binding->handle));

    if (error == 0 && takes_requests(binding->domain) && domain_is_paging(binding->domain) &&
        binding->live == 0) {
        error = piommu_requests_replay_(binding);
    }
    return error;
}

int piommu_endpoint_enter_(struct endpoint *endpoint)
{
    int error = program(endpoint, endpoint->binding);

    if (error == 0) {
        note_in(endpoint);
    }
    return error;
}

/*
 * Moves one endpoint into a domain, from where it is. After a failure it is blocked and in neither;
 * -PIOMMU_EFAILED: the instance has failed; if it could not be stopped the endpoint still counts.
 */
static int enter(struct endpoint *endpoint, struct binding *to)
{
    struct piommu_instance *instance = endpoint->instance;
    struct binding *from = endpoint->binding;
    int error = 0;

    if (instance_failed(instance)) {
        return -PIOMMU_EFAILED;
    }
    if (instance_suspended(instance)) {
        piommu_endpoint_uncount_(endpoint);
        count(endpoint, to);
        note_out(endpoint);
        return 0;
    }
    error = program(endpoint, to);
    if (error == -PIOMMU_EFAILED && !instance_stopped(instance)) {
        /* It may be in either. It stays counted where it was, if it was anywhere. */
        to->doubtful = true;
        if (from == NULL) {
            count(endpoint, to);
        }
        return error;
    }
    piommu_endpoint_uncount_(endpoint);
    if (error == 0) {
        count(endpoint, to);
        return 0;
    }
    if (error != -PIOMMU_EFAILED && block(endpoint) != 0) {
        /* It may be in either, and both have to know until the unit is stopped. */
        if (!instance_stopped(instance)) {
            count(endpoint, to);
            if (from != NULL) {
                from->doubtful = true;
            }
        }
        return -PIOMMU_EFAILED;
    }
    return error;
}

/* Blocks all endpoints of a group. Tells whether some of them are in doubt. */
static int leave_all(struct piommu_group *group)
{
    int error = 0;

    for (struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        if (piommu_endpoint_block_(endpoint) != 0) {
            error = -PIOMMU_EFAILED;
        }
    }
    return error;
}

/* Whether an instance of the group has failed. */
static bool any_failed(const struct piommu_group *group)
{
    for (const struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        if (instance_failed(endpoint->instance)) {
            return true;
        }
    }
    return false;
}

/*
 * Moves all endpoints of a group into a domain, which has bindings for all of them. After a failure
 * all that are not in doubt are blocked.
 */
static int enter_all(struct piommu_group *group, struct piommu_domain *domain)
{
    for (struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        int error = enter(endpoint, piommu_binding_find_(domain, endpoint->instance));

        if (error != 0) {
            return leave_all(group) != 0 || any_failed(group) ? -PIOMMU_EFAILED : error;
        }
    }
    return 0;
}

/* Whether the group can go from one domain to the other without being blocked in between. */
static bool switches(const struct piommu_group *group)
{
    const struct endpoint *endpoint = group->endpoints;

    return endpoint->next == NULL && !group->fault_blocked &&
           endpoint->instance->info.atomic_switch && endpoint->binding != NULL && !endpoint->out &&
           !endpoint->cut_off;
}

/* Counts a group that is blocked because of a fault as being in its domain again. */
static void count_out(struct piommu_group *group, struct piommu_domain *domain)
{
    for (struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        count(endpoint, piommu_binding_find_(domain, endpoint->instance));
        note_out(endpoint);
    }
}

/* Moves the endpoints of a group in hardware; both domains may be NULL or blocked. */
static int move(struct piommu_group *group, struct piommu_domain *from, struct piommu_domain *to)
{
    int error = 0;

    if (!domain_grants(to) || !switches(group)) {
        error = leave_all(group);
        if (error == 0 && any_failed(group)) {
            error = -PIOMMU_EFAILED;
        }
    }
    if (error == 0 && domain_grants(to)) {
        error = enter_all(group, to);
    }
    if (error == 0 || error == -PIOMMU_EFAILED || !domain_grants(from)) {
        return error;
    }
    if (group->fault_blocked) {
        count_out(group, from);
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

/* Notes in which domain a group is; the hardware has been told before. */
static void set_domain(struct piommu_group *group, struct piommu_domain *domain)
{
    struct piommu_domain *old = group->domain;
    unsigned long state;

    if (old != NULL) {
        old->reserved_regions -= piommu_regions_count_(old, group);
    }
    if (domain != NULL) {
        domain->reserved_regions += piommu_regions_count_(domain, group);
    }
    state = piommu_context_lock_(group->context);
    if (old != NULL) {
        CHAIN_REMOVE(old->groups, group);
    }
    group->next = NULL;
    if (domain != NULL) {
        group->next = domain->groups;
        domain->groups = group;
    }
    group->domain = domain;
    group->fault_blocked = false;
    group->block_done = false;
    piommu_context_unlock_(group->context, state);
}

/* Cleans up in a domain behind a group. */
static APART_IF_SHALLOW int clean_behind(const struct piommu_group *group,
                                         struct piommu_domain *domain, int error)
{
    piommu_direct_unmap_(domain, group);
    piommu_bindings_drop_unused_(domain);
    return error;
}

/*
 * Takes the group out of its domain, in which it is not any more, and cleans up there. Returns the
 * error that it is given, so that nothing of the caller is left on the stack.
 */
static int set_domain_and_clean(struct piommu_group *group, struct piommu_domain *domain, int error)
{
    struct piommu_domain *old = group->domain;

    set_domain(group, domain);
    return old != NULL && old != domain ? clean_behind(group, old, error) : error;
}

/*
 * Makes the domain ready for a group: bindings and, if the group is not in it, direct regions.
 * Undone by `clean_behind`.
 */
static int prepare(const struct piommu_group *group, struct piommu_domain *domain)
{
    int error = 0;

    for (const struct endpoint *endpoint = group->endpoints;
         endpoint != NULL && error == 0 && domain_grants(domain); endpoint = endpoint->next) {
        if (piommu_binding_find_(domain, endpoint->instance) == NULL) {
            error = piommu_binding_make_(domain, endpoint->instance, false);
        }
    }
    if (error == 0 && domain_is_paging(domain) && group->domain != domain) {
        error = -PIOMMU_ERESERVED;
        if (!piommu_regions_conflict_(group, domain)) {
            error = piommu_direct_map_(domain, group);
            if (error != 0) {
                (void)clean_behind(group, domain, 0);
                return error;
            }
        }
    }
    if (error != 0) {
        piommu_bindings_drop_unused_(domain);
    }
    return error;
}

static bool waits(const struct piommu_group *group)
{
    for (const struct piommu_device *device = group->devices; device != NULL;
         device = device->next) {
        if (device->waiting) {
            return true;
        }
    }
    return false;
}

/*
 * Whether all IDs of a group are in its domain. If a unit has failed and could not be stopped, some
 * of them were left blocked; or some were blocked at once because of a fault, and others not yet.
 */
static bool is_whole(const struct piommu_group *group)
{
    if (!domain_grants(group->domain)) {
        return true;
    }
    for (const struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        if (endpoint->binding == NULL || endpoint->cut_off) {
            return false;
        }
    }
    return true;
}

/* A group whose instance has failed: the end of an attach. */
static int give_up(struct piommu_group *group)
{
    struct piommu_domain *domain = group->domain;
    int error;

    begin_moving(domain);
    error = leave_all(group);
    end_moving(domain);
    return error == 0 ? set_domain_and_clean(group, NULL, -PIOMMU_EFAILED) : -PIOMMU_EFAILED;
}

/*
 * An attach that may begin. Where it can end, by what it returns:
 *
 *     0            in `domain`; what the old one held for the group is taken out there
 *     EFAILED      a unit of the group has failed: out of every domain, if all IDs are known to be
 *                  blocked; else where it was, or in `domain`, and some IDs count there in doubt
 *     EBLOCKED     out of every domain, all IDs blocked
 *     any other    where it was; what was made ready for it in `domain` is taken out again
 */
static int attach(struct piommu_group *group, struct piommu_domain *domain)
{
    struct piommu_domain *old = group->domain;
    int error;

    domain_finish_posts(old);
    domain_finish_posts(domain);
    if (any_failed(group)) {
        piommu_group_stop_failed_(group);
        return give_up(group);
    }
    error = prepare(group, domain);
    if (error != 0) {
        return error == -PIOMMU_EFAILED && any_failed(group) ? give_up(group) : error;
    }
    begin_moving(old);
    if (old != domain) {
        begin_moving(domain);
    }
    error = move(group, old, domain);
    if (old != domain) {
        end_moving(domain);
    }
    end_moving(old);
    if (error == 0) {
        (void)set_domain_and_clean(group, domain, 0);
    } else if (error == -PIOMMU_EFAILED) {
        (void)give_up(group);
    } else if (error == -PIOMMU_EBLOCKED) {
        (void)set_domain_and_clean(group, NULL, 0);
    }
    if (error != 0 && old != domain) {
        (void)clean_behind(group, domain, 0);
    }
    /* Cleaning up speaks to the hardware, too. */
    return error != -PIOMMU_EFAILED && any_failed(group) ? give_up(group) : error;
}

int piommu_group_attach(struct piommu_group *group, struct piommu_domain *domain)
{
    unsigned long state;
    bool wanted;
    int error = 0;

    if (group == NULL || domain == NULL || domain->destroying) {
        return -PIOMMU_EINVAL;
    }
    if (waits(group)) {
        return -PIOMMU_EWAITING;
    }
    if (group->context != domain->context) {
        return -PIOMMU_EMIXED;
    }
    if (!domain_is_populated(domain)) {
        return -PIOMMU_EAGAIN;
    }
    piommu_group_acquire_(group);
    /* What faults have asked for up to now is answered by this call. */
    state = piommu_context_lock_(group->context);
    wanted = group->block_wanted;
    piommu_group_forget_block_(group);
    piommu_context_unlock_(group->context, state);
    if (group->domain != domain || group->fault_blocked || !is_whole(group)) {
        error = attach(group, domain);
        piommu_trace_device_(group->devices, domain, PIOMMU_EVENT_ATTACH, error);
    }
    if (wanted && error != 0 && group->domain != NULL) {
        /* It is where it was, and so is what was to be done about it. */
        piommu_group_block_(group);
        error = any_failed(group) ? give_up(group) : error;
    }
    piommu_group_release_(group);
    return error;
}

int piommu_group_complete_(struct piommu_group *group)
{
    return is_whole(group) || group->fault_blocked || group->block_wanted || any_failed(group)
               ? 0
               : piommu_group_attach(group, group->domain);
}

int piommu_group_detach(struct piommu_group *group)
{
    struct piommu_domain *was;
    int error;

    if (group == NULL) {
        return -PIOMMU_EINVAL;
    }
    piommu_group_acquire_(group);
    was = group->domain;
    domain_finish_posts(was);
    piommu_group_stop_failed_(group);
    begin_moving(was);
    error = leave_all(group);
    end_moving(was);
    if (was != NULL) {
        if (error == 0) {
            (void)set_domain_and_clean(group, NULL, 0);
        }
        piommu_trace_device_(group->devices, was, PIOMMU_EVENT_DETACH, error);
    }
    piommu_group_release_(group);
    return error;
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
