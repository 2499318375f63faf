/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Everything as text, for people, and the question who uses a piece of memory. */

#include "core.h"

#include <piommu/dump.h>

#include "../base/text.h"

struct printer {
    piommu_print print;
    void *cookie;
    struct piommu_text text;
};

static void print_line(struct printer *printer)
{
    printer->print(printer->cookie, printer->text.line);
    piommu_text_begin(&printer->text);
}

static const char *name_or_dash(const char *name)
{
    return name != NULL ? name : "-";
}

/* The number of a group: how many devices stand in front of its first one. */
static uint32_t group_number(const struct piommu_group *group)
{
    const struct piommu_device *device = group->context->devices;
    uint32_t number = 0;

    while (device != NULL && device->group != group) {
        device = device->peer;
        number++;
    }
    return number;
}

static void print_device(struct printer *printer, const struct piommu_device *device)
{
    const struct piommu_group *group = device->group;
    const struct piommu_instance *instance = NULL;

    piommu_text_put_(&printer->text, "device %s: group %u, ", name_or_dash(device->name),
                     group_number(group));
    if (device->waiting) {
        piommu_text_put_(&printer->text, "waiting, IDs");
    } else if (group->domain == NULL) {
        piommu_text_put_(&printer->text, "blocked, IDs");
    } else {
        piommu_text_put_(&printer->text, "in domain %s%s, IDs",
                         name_or_dash(group->domain->config.name),
                         group->fault_blocked ? " but blocked by faults" : "");
    }
    for (size_t i = 0; i < device->id_count; i++) {
        const struct device_id *id = &device->ids[i];

        if (i == 0 || id->instance != instance) {
            instance = id->instance;
            piommu_text_put_(&printer->text,
                             " of %s:", instance != NULL ? instance->config.name : "?");
        }
        piommu_text_put_(&printer->text, " %x", (uint64_t)id->id);
    }
    print_line(printer);
}

static void print_domain(struct printer *printer, const struct piommu_domain *domain)
{
    static const char *const types[] = {"blocked", "identity", "shared",
                                        "paging",  "dma",      "deferred"};
    struct piommu_domain_statistics statistics;

    piommu_domain_get_statistics(domain, &statistics);
    piommu_text_put_(&printer->text, "domain %s: %s, %u IDs", name_or_dash(domain->config.name),
                     types[domain->config.type], statistics.endpoints);
    if (domain_is_paging(domain)) {
        piommu_text_put_(&printer->text, ", %x bytes mapped, maps %x, unmaps %x, syncs %x",
                         statistics.mapped, statistics.maps, statistics.unmaps, statistics.syncs);
    }
    for (const struct binding *binding = domain->bindings; binding != NULL;
         binding = binding->next) {
        piommu_text_put_(&printer->text, "%s%s", binding == domain->bindings ? ", on " : ", ",
                         binding->instance->config.name);
    }
    print_line(printer);
}

static void print_instance(struct printer *printer, struct piommu_instance *instance)
{
    static const char *const states[] = {"running", "waiting", "suspended", "failed"};
    struct piommu_instance_info info;

    piommu_instance_get_info(instance, &info);
    piommu_text_put_(&printer->text, "instance %s: %s, %s", info.name, info.backend,
                     states[info.state]);
    if (info.state != PIOMMU_INSTANCE_WAITING) {
        piommu_text_put_(&printer->text, ", addresses %x to %x, leaves %x, faults %x",
                         info.aperture.first, info.aperture.last, info.leaf_sizes, info.faults);
    }
    print_line(printer);
}

void piommu_context_dump(struct piommu_context *context, piommu_print print, void *cookie)
{
    struct printer printer = {.print = print, .cookie = cookie};

    piommu_text_begin(&printer.text);
    for (struct piommu_instance *instance = context->instances; instance != NULL;
         instance = instance->peer) {
        print_instance(&printer, instance);
    }
    for (const struct piommu_device *device = context->devices; device != NULL;
         device = device->peer) {
        print_device(&printer, device);
    }
    for (const struct piommu_domain *domain = context->domains; domain != NULL;
         domain = domain->peer) {
        if (!domain->destroying) {
            print_domain(&printer, domain);
        }
    }
}

/* Mappings that go on in input and output with the same permissions. */
struct run {
    bool begun;
    struct piommu_range range;
    uint64_t physical;
    piommu_prot prot;
};

static bool goes_on(const struct run *run, uint64_t iova, const struct piommu_translation *next)
{
    return run->begun && run->range.last + 1 == iova &&
           run->physical + range_size(run->range) == next->physical && run->prot == next->prot;
}

static void print_run(struct printer *printer, const struct run *run)
{
    if (run->begun) {
        piommu_text_put_(
            &printer->text, "%x to %x at %x, %s%s%s, prot %x", run->range.first, run->range.last,
            run->physical, (run->prot & PIOMMU_PROT_READ) != 0 ? "r" : "-",
            (run->prot & PIOMMU_PROT_WRITE) != 0 ? "w" : "-",
            (run->prot & PIOMMU_PROT_EXECUTE_ALL) != 0 ? "x" : "-", (uint64_t)run->prot);
        print_line(printer);
    }
}

int piommu_domain_dump(struct piommu_domain *domain, uint64_t first, uint64_t last,
                       piommu_print print, void *cookie)
{
    struct printer printer = {.print = print, .cookie = cookie};
    struct run run = {.begun = false};
    struct piommu_translation next;
    uint64_t iova;

    if (!enter_mapping(domain) || print == NULL || first > last) {
        return -PIOMMU_EINVAL;
    }
    piommu_text_begin(&printer.text);
    while (piommu_domain_next(domain, first, last, &iova, &next) == 0) {
        uint64_t end = iova + (next.leaf_size - 1);

        if (!goes_on(&run, iova, &next)) {
            print_run(&printer, &run);
            run = (struct run){.begun = true, .physical = next.physical, .prot = next.prot};
            run.range.first = iova;
        }
        run.range.last = end;
        if (end >= last) {
            break;
        }
        first = end + 1;
    }
    print_run(&printer, &run);
    return 0;
}

/* Finds a use of memory in one domain. */
static bool find_use(struct piommu_domain *domain, uint64_t first, uint64_t last,
                     struct piommu_use *use)
{
    uint64_t from = domain->geometry.aperture.first;
    struct piommu_translation next;
    uint64_t iova;

    while (piommu_domain_next(domain, from, domain->geometry.aperture.last, &iova, &next) == 0) {
        if (next.physical <= last && next.physical + (next.leaf_size - 1) >= first) {
            use->domain = domain;
            use->domain_owner = domain->config.owner;
            use->iova = iova;
            use->physical = next.physical;
            use->size = next.leaf_size;
            use->prot = next.prot;
            return true;
        }
        if (domain->geometry.aperture.last - iova < next.leaf_size) {
            break;
        }
        from = iova + next.leaf_size;
    }
    return false;
}

int piommu_context_find_use(struct piommu_context *context, uint64_t first, uint64_t last,
                            struct piommu_use *use)
{
    struct piommu_use found;

    if (context == NULL || first > last) {
        return -PIOMMU_EINVAL;
    }
    for (struct piommu_domain *domain = context->domains; domain != NULL; domain = domain->peer) {
        if (domain_is_paging(domain) && !domain->destroying &&
            find_use(domain, first, last, use != NULL ? use : &found)) {
            return 0;
        }
    }
    return -PIOMMU_ENOENT;
}
