/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Events for the host's recorder. */

#include "core.h"

const char *piommu_event_name(enum piommu_event_kind kind)
{
    static const char *const names[] = {
        [PIOMMU_EVENT_INSTANCE_START] = "instance start",
        [PIOMMU_EVENT_INSTANCE_FAIL] = "instance fail",
        [PIOMMU_EVENT_INSTANCE_STOP] = "instance stop",
        [PIOMMU_EVENT_INSTANCE_SUSPEND] = "instance suspend",
        [PIOMMU_EVENT_INSTANCE_RESUME] = "instance resume",
        [PIOMMU_EVENT_INSTANCE_RECOVER] = "instance recover",
        [PIOMMU_EVENT_DEVICE_ADD] = "device add",
        [PIOMMU_EVENT_DEVICE_READY] = "device ready",
        [PIOMMU_EVENT_DEVICE_REMOVE] = "device remove",
        [PIOMMU_EVENT_DOMAIN_CREATE] = "domain create",
        [PIOMMU_EVENT_DOMAIN_DESTROY] = "domain destroy",
        [PIOMMU_EVENT_ATTACH] = "attach",
        [PIOMMU_EVENT_DETACH] = "detach",
        [PIOMMU_EVENT_MAP] = "map",
        [PIOMMU_EVENT_UNMAP] = "unmap",
        [PIOMMU_EVENT_PROTECT] = "protect",
        [PIOMMU_EVENT_SYNC] = "sync",
        [PIOMMU_EVENT_POPULATE] = "populate",
        [PIOMMU_EVENT_FAULT] = "fault",
        [PIOMMU_EVENT_FAULT_BLOCK] = "fault block",
    };
    unsigned int index = (unsigned int)kind;

    return index < sizeof(names) / sizeof(names[0]) ? names[index] : "unknown event";
}

static void emit(const struct piommu_context *context, const struct piommu_event *event)
{
    context->config.trace(context->config.cookie, event);
}

void piommu_trace_instance_(struct piommu_instance *instance, enum piommu_event_kind kind,
                            int error)
{
    struct piommu_event event = {.kind = kind,
                                 .error = error,
                                 .instance_owner = instance->config.owner,
                                 .instance_name = instance->config.name};

    if (PIOMMU_CORE_WITH_TRACE && instance->context->config.trace != NULL) {
        emit(instance->context, &event);
    }
}

void piommu_trace_device_(const struct piommu_device *device, const struct piommu_domain *domain,
                          enum piommu_event_kind kind, int error)
{
    struct piommu_event event = {
        .kind = kind, .error = error, .device_owner = device->owner, .device_name = device->name};

    if (!PIOMMU_CORE_WITH_TRACE || device->context->config.trace == NULL) {
        return;
    }
    if (domain != NULL) {
        event.domain_owner = domain->config.owner;
        event.domain_name = domain->config.name;
    }
    emit(device->context, &event);
}

void piommu_trace_domain_(const struct piommu_domain *domain, struct piommu_event *event)
{
    if (!PIOMMU_CORE_WITH_TRACE || domain->context->config.trace == NULL) {
        return;
    }
    event->domain_owner = domain->config.owner;
    event->domain_name = domain->config.name;
    emit(domain->context, event);
}

void piommu_trace_change_(const struct piommu_domain *domain, enum piommu_event_kind kind,
                          uint64_t iova, uint64_t size, int error)
{
    struct piommu_event event = {.kind = kind, .error = error, .iova = iova, .size = size};

    piommu_trace_domain_(domain, &event);
}

void piommu_trace_map_(const struct piommu_domain *domain, uint64_t iova,
                       const struct piommu_segment *segments, size_t count, piommu_prot prot,
                       int error)
{
    struct piommu_event event = {.kind = PIOMMU_EVENT_MAP,
                                 .error = error,
                                 .iova = iova,
                                 .size = segments_size(segments, count),
                                 .physical = segments->physical,
                                 .prot = prot};

    piommu_trace_domain_(domain, &event);
}
