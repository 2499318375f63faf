/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Faults: from the hardware's report to the host's callback, to a record, and to a device that is
 * blocked. All of it runs beside registration: what it looks at is under the context's lock, and
 * the callback, which is not, is waited for by who wants to take a cookie away.
 */

#include "core.h"

#define SECOND 1000000000ull

const char *piommu_fault_reason_name(enum piommu_fault_reason reason)
{
    static const char *const names[] = {
        [PIOMMU_FAULT_UNKNOWN] = "unknown reason",
        [PIOMMU_FAULT_BLOCKED] = "device is in no domain",
        [PIOMMU_FAULT_MAPPING] = "not mapped, or not allowed",
        [PIOMMU_FAULT_TRANSLATION] = "not mapped",
        [PIOMMU_FAULT_PERMISSION] = "not allowed",
        [PIOMMU_FAULT_TABLE] = "page table cannot be read",
        [PIOMMU_FAULT_CONFLICT] = "conflicting TLB entries",
        [PIOMMU_FAULT_SECURITY] = "wrong security state",
    };

    return (unsigned int)reason < sizeof(names) / sizeof(names[0]) ? names[reason] : names[0];
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
        for (size_t i = 0; i < device->id_count; i++) {
            if (device->ids[i].endpoint == endpoint) {
                return device->leaving ? NULL : device;
            }
        }
    }
    return NULL;
}

/* Counts a fault of a source, and tells whether it is one too many in this second. */
static bool over_limit(struct storm *storm, uint32_t limit, uint64_t now)
{
    if (limit == 0) {
        return false;
    }
    if (storm->count == 0 || now - storm->start >= SECOND) {
        storm->start = now;
        storm->count = 0;
    }
    if (storm->count == limit) {
        return true;
    }
    storm->count++;
    return false;
}

/* Whether a group has an ID on an instance, or on a part of it. */
static bool is_behind(const struct piommu_group *group, const struct piommu_instance *instance)
{
    for (const struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        const struct piommu_instance *unit = endpoint->instance;

        while (unit != NULL && unit != instance) {
            unit = unit->parent;
        }
        if (unit != NULL) {
            return true;
        }
    }
    return false;
}

/* The only device of a domain behind an instance; NULL if there are several. */
static const struct piommu_device *only_device(const struct piommu_domain *domain,
                                               const struct piommu_instance *instance)
{
    const struct piommu_device *only = NULL;

    for (const struct piommu_group *group = domain->groups; group != NULL; group = group->next) {
        if (!is_behind(group, instance)) {
            continue;
        }
        if (only != NULL || group->devices->next != NULL) {
            return NULL;
        }
        only = group->devices;
    }
    return only == NULL || only->leaving ? NULL : only;
}

/* The domain of which a backend has reported a fault. */
static struct piommu_domain *find_domain(const struct piommu_context *context, const void *identity)
{
    struct piommu_domain *domain = context->domains;

    while (domain != NULL && domain != identity) {
        domain = domain->peer;
    }
    return domain;
}

/* Fills in whose fault it is. Under the lock. */
static void attribute(struct fault_record *record, const struct piommu_device *device,
                      const struct piommu_domain *domain)
{
    struct piommu_fault *fault = &record->fault;

    record->device = device;
    record->domain = domain;
    if (device != NULL) {
        fault->device_owner = device->owner;
        fault->device_name = device->name;
    }
    if (domain != NULL) {
        fault->domain_owner = domain->config.owner;
        fault->domain_name = domain->config.name;
    }
}

/*
 * Finds out whose fault it is, and counts it. Under the lock. False: its source has sent too many.
 */
static bool identify(struct piommu_instance *instance, const struct piommu_backend_fault *raw,
                     struct fault_record *record)
{
    struct storm *storm = &instance->unknown;

    if (raw->domain != NULL) {
        struct piommu_domain *domain = find_domain(instance->context, raw->domain);

        if (domain != NULL) {
            attribute(record, only_device(domain, instance), domain);
            storm = &domain->storm;
        }
    } else {
        struct endpoint *endpoint = piommu_find_endpoint_(instance, raw->id);

        record->fault.id_valid = true;
        record->fault.id = raw->id;
        if (endpoint != NULL) {
            attribute(record, only_user(endpoint), endpoint->group->domain);
            storm = &endpoint->storm;
        }
    }
    instance->faults++;
    if (over_limit(storm, instance->config.fault_limit, record->fault.time)) {
        instance->faults_held_back++;
        return false;
    }
    return true;
}

/* Keeps a record; the oldest goes if there is no room. Under the lock. */
static void keep(struct piommu_instance *instance, const struct fault_record *record)
{
    uint32_t size = instance->config.fault_records;

    if (size == 0) {
        return;
    }
    if (instance->record_count == size) {
        instance->record_first = (instance->record_first + 1) % size;
        instance->record_count--;
        instance->faults_dropped++;
    }
    instance->records[(instance->record_first + instance->record_count) % size] = *record;
    instance->record_count++;
}

static void trace_fault(const struct piommu_instance *instance, const struct piommu_fault *fault)
{
    const struct piommu_context_config *config = &instance->context->config;
    struct piommu_event event = {.kind = PIOMMU_EVENT_FAULT,
                                 .instance_owner = fault->instance_owner,
                                 .device_owner = fault->device_owner,
                                 .domain_owner = fault->domain_owner,
                                 .instance_name = fault->instance_name,
                                 .device_name = fault->device_name,
                                 .domain_name = fault->domain_name,
                                 .iova = fault->iova,
                                 .id = fault->id};

    if (PIOMMU_CORE_WITH_TRACE && config->trace != NULL) {
        config->trace(config->cookie, &event);
    }
}

/*
 * Blocks a group, which the caller has busy, as far as its units can without waiting. Tells whether
 * that was all of it.
 */
static bool block_at_once(const struct piommu_group *group)
{
    bool all = true;

    for (struct endpoint *endpoint = group->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        struct piommu_instance *instance = endpoint->instance;

        if (endpoint->binding == NULL || endpoint->out || !instance_usable(instance)) {
            continue;
        }
        if (instance->backend->block_now != NULL &&
            instance->backend->block_now(instance->unit, endpoint->handle) == 0) {
            endpoint->cut_off = true;
        } else {
            all = false;
        }
    }
    return all;
}

/*
 * Notes that all are to be blocked whom a fault is about, and takes those that nobody has busy: a
 * chain. Under the lock. Whoever has moved a group out of the domain while the lock was free has
 * the last word.
 */
static struct piommu_group *take_guilty(const struct piommu_instance *instance,
                                        const struct fault_record *record)
{
    const struct endpoint *endpoint =
        record->fault.id_valid ? piommu_find_endpoint_(instance, record->fault.id) : NULL;
    struct piommu_group *taken = NULL;

    if (find_domain(instance->context, record->domain) == NULL) {
        return NULL;
    }
    for (struct piommu_group *group = record->domain->groups; group != NULL; group = group->next) {
        bool guilty = record->fault.id_valid ? endpoint != NULL && endpoint->group == group
                                             : is_behind(group, instance);

        if (!guilty || group->block_done) {
            continue;
        }
        piommu_group_want_block_(group);
        if (!group->busy) {
            group->busy = true;
            group->next_taken = taken;
            taken = group;
        }
    }
    return taken;
}

/* Blocks groups that were taken, as far as that is possible at once. */
static void block_taken(struct piommu_context *context, struct piommu_group *taken)
{
    while (taken != NULL) {
        struct piommu_group *next = taken->next_taken;
        bool blocked = block_at_once(taken);
        unsigned long state = piommu_context_lock_(context);

        taken->fault_blocked = taken->fault_blocked || blocked;
        taken->busy = false;
        piommu_context_unlock_(context, state);
        taken = next;
    }
}

/*
 * Tells the host of a fault, keeps it, and finds whom to block for it: a chain. Not inlined, since
 * who blocks needs the stack. `noticed`: who takes away what the report names waits.
 */
static APART_IF_SHALLOW struct piommu_group *notice(struct piommu_instance *instance,
                                                    const struct piommu_backend_fault *raw,
                                                    bool *noticed)
{
    struct piommu_context *context = instance->context;
    const struct piommu_context_config *config = &context->config;
    enum piommu_fault_answer answer = PIOMMU_FAULT_NOTE;
    struct piommu_group *taken = NULL;
    struct fault_record record = {.fault = {.instance_owner = instance->config.owner,
                                            .instance_name = instance->config.name,
                                            .time = context->host.os->now(context->host.ctx),
                                            .reason = raw->reason,
                                            .iova_valid = raw->iova_valid,
                                            .read = raw->read,
                                            .write = raw->write,
                                            .level_valid = raw->level_valid,
                                            .level = raw->level,
                                            .iova = raw->iova,
                                            .raw = raw->raw}};
    unsigned long state = piommu_context_lock_(context);

    *noticed = identify(instance, raw, &record);
    instance->callbacks += *noticed ? 1 : 0;
    piommu_context_unlock_(context, state);
    if (!*noticed) {
        return NULL;
    }
    trace_fault(instance, &record.fault);
    if (config->fault != NULL) {
        answer = config->fault(config->cookie, &record.fault);
    }
    state = piommu_context_lock_(context);
    if (answer == PIOMMU_FAULT_BLOCK && record.domain != NULL) {
        taken = take_guilty(instance, &record);
    }
    if (answer != PIOMMU_FAULT_IGNORE) {
        keep(instance, &record);
    }
    piommu_context_unlock_(context, state);
    return taken;
}

void piommu_backend_report_fault(struct piommu_instance *instance,
                                 const struct piommu_backend_fault *raw)
{
    bool noticed;
    struct piommu_group *taken = notice(instance, raw, &noticed);

    if (noticed) {
        unsigned long state;

        block_taken(instance->context, taken);
        /* Up to here who takes away what the record names has waited. */
        state = piommu_context_lock_(instance->context);
        instance->callbacks++;
        piommu_context_unlock_(instance->context, state);
    }
}

/*
 * Blocks the groups that are to be blocked, where it may wait: those of all instances, since a
 * group can be behind several, and the one that has reported its fault may not work any more.
 */
static void block_wanted(struct piommu_context *context)
{
    for (;;) {
        unsigned long state = piommu_context_lock_(context);
        struct piommu_group *group = context->blocks;

        /* Those that are busy are blocked by whoever has them. */
        while (group != NULL && group->busy) {
            group = group->next_block;
        }
        if (group != NULL) {
            group->busy = true;
        }
        piommu_context_unlock_(context, state);
        if (group == NULL) {
            return;
        }
        piommu_group_release_(group);
    }
}

/* Whether there is a unit that can have something to report. */
static bool reports(const struct piommu_instance *instance)
{
    return !instance->waiting && !instance_suspended(instance);
}

/*
 * Takes in reports, unless somebody is at it: who finds that leaves a note, so that nothing is
 * overlooked that has come since the other began.
 */
static int take_reports(struct piommu_instance *instance, unsigned int budget)
{
    struct piommu_context *context = instance->context;
    unsigned int handled = 0;
    bool again = true;
    int result = 0;
    unsigned long state = piommu_context_lock_(context);
    bool busy = instance->servicing;

    instance->missed = busy;
    instance->servicing = true;
    piommu_context_unlock_(context, state);
    if (busy) {
        return 0;
    }
    while (again) {
        result = instance->backend->service(instance->unit, budget - handled);
        handled += result > 0 ? (unsigned int)result : 0;
        state = piommu_context_lock_(context);
        again = instance->missed && result >= 0 && handled < budget;
        instance->missed = instance->missed && !again;
        instance->servicing = again;
        piommu_context_unlock_(context, state);
    }
    return result < 0 ? result : (int)handled;
}

/* What is left to do for service, after interrupt. */
static bool more_to_do(struct piommu_instance *instance)
{
    unsigned long state = piommu_context_lock_(instance->context);
    bool more = instance->context->blocks != NULL || instance->missed;

    piommu_context_unlock_(instance->context, state);
    return more;
}

int piommu_instance_service(struct piommu_instance *instance, unsigned int budget)
{
    int handled;

    if (instance == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (instance_failed(instance)) {
        if (instance_untouched(instance)) {
            (void)piommu_instance_stopped_(instance);
        }
        instance_poll_posts(instance, true);
        block_wanted(instance->context); /* groups that have IDs on others, too */
        context_complete_posts(instance->context);
        return -PIOMMU_EFAILED;
    }
    /* What was asked for before a unit was suspended is still to be done to others. */
    handled = reports(instance) ? take_reports(instance, budget) : 0;
    if (handled < 0) {
        (void)piommu_instance_fail_(instance, handled);
    }
    instance_poll_posts(instance, true);
    block_wanted(instance->context);
    context_complete_posts(instance->context);
    return instance_failed(instance) ? -PIOMMU_EFAILED : handled;
}

int piommu_instance_interrupt(struct piommu_instance *instance, unsigned int budget, bool *more)
{
    bool left = false;
    int handled = 0;

    if (instance == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (instance_failed(instance)) {
        left = instance_untouched(instance) || more_to_do(instance);
        handled = -PIOMMU_EFAILED;
    } else {
        handled = reports(instance) ? take_reports(instance, budget) : 0;
        left = handled < 0 || (unsigned int)handled == budget || more_to_do(instance);
        handled = handled < 0 ? piommu_instance_note_failure_(instance, handled) : handled;
    }
    instance_poll_posts(instance, false);
    if (instance_failed(instance)) {
        left = left || instance_untouched(instance);
        handled = -PIOMMU_EFAILED;
    }
    context_complete_posts(instance->context);
    if (more != NULL) {
        *more = left;
    }
    return handled;
}

int piommu_instance_take_fault(struct piommu_instance *instance, struct piommu_fault *fault)
{
    unsigned long state;
    bool found;

    if (instance == NULL || fault == NULL) {
        return -PIOMMU_EINVAL;
    }
    state = piommu_context_lock_(instance->context);
    found = instance->record_count != 0;
    if (found) {
        *fault = instance->records[instance->record_first].fault;
        instance->record_first = (instance->record_first + 1) % instance->config.fault_records;
        instance->record_count--;
    }
    piommu_context_unlock_(instance->context, state);
    return found ? 0 : -PIOMMU_ENOENT;
}

/* Waits until the callback that runs on an instance, if any, has ended. */
static int wait_for_callback(struct piommu_instance *instance)
{
    struct piommu_context *context = instance->context;
    uint64_t deadline = piommu_host_deadline_(instance->host, instance->config.timeout);
    unsigned long state = piommu_context_lock_(context);
    uint32_t begun = instance->callbacks;
    uint32_t now = begun;

    piommu_context_unlock_(context, state);
    while ((begun & 1) != 0 && now == begun) {
        if (!piommu_host_wait_(instance->host, deadline)) {
            return -PIOMMU_EBUSY;
        }
        state = piommu_context_lock_(context);
        now = instance->callbacks;
        piommu_context_unlock_(context, state);
    }
    return 0;
}

int piommu_faults_quiesce_(struct piommu_context *context)
{
    int error = 0;

    for (struct piommu_instance *instance = context->instances; instance != NULL && error == 0;
         instance = instance->peer) {
        error = wait_for_callback(instance);
    }
    return error;
}

static void set_leaving(struct piommu_device *device, bool leaving)
{
    unsigned long state = piommu_context_lock_(device->context);

    device->leaving = leaving;
    piommu_context_unlock_(device->context, state);
}

int piommu_faults_leave_(struct piommu_device *device)
{
    int error = 0;

    set_leaving(device, true);
    for (size_t i = 0; i < device->id_count && error == 0; i++) {
        if (device->ids[i].instance != NULL) {
            error = wait_for_callback(device->ids[i].instance);
        }
    }
    if (error != 0) {
        set_leaving(device, false);
    }
    return error;
}

void piommu_faults_purge_(struct piommu_context *context, const struct piommu_device *device,
                          const struct piommu_domain *domain)
{
    unsigned long state = piommu_context_lock_(context);

    for (struct piommu_instance *instance = context->instances; instance != NULL;
         instance = instance->peer) {
        for (uint32_t i = 0; i < instance->config.fault_records; i++) {
            struct fault_record *record = &instance->records[i];

            if (device != NULL && record->device == device) {
                record->device = NULL;
                record->fault.device_owner = NULL;
                record->fault.device_name = NULL;
            }
            if (domain != NULL && record->domain == domain) {
                record->domain = NULL;
                record->fault.domain_owner = NULL;
                record->fault.domain_name = NULL;
            }
        }
    }
    piommu_context_unlock_(context, state);
}
