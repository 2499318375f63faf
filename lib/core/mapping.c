/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Domains whose backend takes requests. The hardware shows nothing of what it holds, so each
 * request is recorded here: for lookup, for the edges that an unmap must respect, and to tell all
 * of it again when the domain gets its first endpoint.
 */

#include "core.h"

#include "../base/gather.h"

static struct mapping *mapping_of(const struct range_node *node)
{
    return node != NULL ? RANGE_TREE_ENTRY(node, struct mapping, node) : NULL;
}

static struct mapping *mapping_from(const struct piommu_domain *domain, uint64_t address)
{
    return mapping_of(piommu_range_tree_from_(&domain->mappings, address));
}

static struct mapping *mapping_next(const struct mapping *mapping)
{
    return mapping_of(piommu_range_tree_next_(&mapping->node));
}

static void free_mapping(const struct piommu_domain *domain, struct mapping *mapping)
{
    piommu_host_free(domain->instance->host, mapping, sizeof(*mapping));
}

static void free_chain(const struct piommu_domain *domain, struct mapping *chain)
{
    while (chain != NULL) {
        struct mapping *next = chain->next;

        free_mapping(domain, chain);
        chain = next;
    }
}

void piommu_domain_free_mappings_(struct piommu_domain *domain)
{
    struct mapping *mapping;

    while ((mapping = mapping_from(domain, 0)) != NULL) {
        piommu_range_tree_remove_(&domain->mappings, &mapping->node);
        free_mapping(domain, mapping);
    }
}

/* Produces the mappings of one map call, which are chained. */
struct chain_source {
    struct piommu_mapping_source source;
    const struct mapping *next;
};

static void describe(const struct mapping *mapping, struct piommu_backend_mapping *result)
{
    result->iova.first = mapping->node.first;
    result->iova.last = mapping->node.last;
    result->physical = mapping->physical;
    result->prot = mapping->prot;
}

static bool next_of_chain(struct piommu_mapping_source *source,
                          struct piommu_backend_mapping *result)
{
    struct chain_source *chain = (struct chain_source *)(void *)source;

    if (chain->next == NULL) {
        return false;
    }
    describe(chain->next, result);
    chain->next = chain->next->next;
    return true;
}

/* Produces all live mappings of a domain. */
static bool next_of_domain(struct piommu_mapping_source *source,
                           struct piommu_backend_mapping *result)
{
    struct chain_source *all = (struct chain_source *)(void *)source;

    while (all->next != NULL && all->next->pending) {
        all->next = mapping_next(all->next);
    }
    if (all->next == NULL) {
        return false;
    }
    describe(all->next, result);
    all->next = mapping_next(all->next);
    return true;
}

int piommu_domain_replay_(struct piommu_domain *domain)
{
    struct piommu_instance *instance = domain->instance;
    struct chain_source all = {.source = {.next = next_of_domain}, .next = mapping_from(domain, 0)};

    if (all.next == NULL) {
        return 0;
    }
    return piommu_instance_judge_(
        instance, instance->backend->map(instance->unit, domain->handle, &all.source));
}

/* Makes the records of a map call, one for each physically contiguous run. */
static int make_records(const struct piommu_domain *domain, uint64_t iova,
                        const struct piommu_segment *segments, size_t count, piommu_prot prot,
                        struct mapping **chain)
{
    struct mapping **tail = chain;
    struct mapping *current = NULL;

    *chain = NULL;
    for (size_t i = 0; i < count; i++) {
        uint64_t last = iova + (segments[i].size - 1);

        if (current != NULL && segments[i].physical > current->physical &&
            segments[i].physical - current->physical == iova - current->node.first) {
            current->node.last = last;
        } else {
            current = piommu_host_alloc(domain->instance->host, sizeof(*current));
            if (current == NULL) {
                free_chain(domain, *chain);
                return -PIOMMU_ENOMEM;
            }
            current->node.first = iova;
            current->node.last = last;
            current->physical = segments[i].physical;
            current->prot = prot;
            *tail = current;
            tail = &current->next;
        }
        iova = last + 1;
    }
    return 0;
}

/* Produces one range. */
struct single_range {
    struct piommu_range_source source;
    struct piommu_range range;
    bool done;
};

static bool next_single(struct piommu_range_source *source, struct piommu_range *range)
{
    struct single_range *single = (struct single_range *)(void *)source;

    if (single->done) {
        return false;
    }
    *range = single->range;
    single->done = true;
    return true;
}

/*
 * Tells new mappings to the hardware. If it refuses, some of them may be in force: one request for
 * the whole range removes those, since nothing else lies in it.
 */
static int send_new(struct piommu_domain *domain, const struct mapping *chain,
                    struct piommu_range range)
{
    struct piommu_instance *instance = domain->instance;
    struct chain_source source = {.source = {.next = next_of_chain}, .next = chain};
    struct single_range all = {.source = {.next = next_single}, .range = range};
    int error = piommu_instance_judge_(
        instance, instance->backend->map(instance->unit, domain->handle, &source.source));

    if (error != 0 && error != -PIOMMU_EFAILED) {
        int undo = instance->backend->unmap(instance->unit, domain->handle, &all.source);

        if (undo != 0) {
            return piommu_instance_fail_(instance, undo);
        }
    }
    return error;
}

int piommu_requests_map_(struct piommu_domain *domain, uint64_t iova,
                         const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    struct piommu_range range = {.first = iova, .last = iova - 1};
    struct mapping *chain;
    int error;

    for (size_t i = 0; i < count; i++) {
        range.last += segments[i].size;
    }
    if (range_tree_overlaps(&domain->mappings, range.first, range.last)) {
        return -PIOMMU_EEXIST;
    }
    error = make_records(domain, iova, segments, count, prot, &chain);
    if (error != 0) {
        return error;
    }
    if (domain->statistics.endpoints != 0) {
        error = send_new(domain, chain, range);
        if (error != 0) {
            free_chain(domain, chain);
            return error;
        }
    }
    while (chain != NULL) {
        struct mapping *next = chain->next;

        chain->next = NULL;
        (void)piommu_range_tree_insert_(&domain->mappings, &chain->node);
        chain = next;
    }
    return 0;
}

/* Tells whether a live mapping lies across an edge of the range. */
static bool cuts(const struct piommu_domain *domain, uint64_t first, uint64_t last)
{
    const struct mapping *lower = mapping_from(domain, first);
    const struct mapping *upper = mapping_from(domain, last);

    return (lower != NULL && !lower->pending && lower->node.first < first) ||
           (upper != NULL && !upper->pending && upper->node.first <= last &&
            upper->node.last > last);
}

int piommu_requests_unmap_(struct piommu_domain *domain, uint64_t first, uint64_t last,
                           struct piommu_gather *gather, uint64_t *unmapped)
{
    struct mapping *mapping;

    if (cuts(domain, first, last)) {
        return -PIOMMU_ECUT;
    }
    for (mapping = mapping_from(domain, first); mapping != NULL && mapping->node.first <= last;
         mapping = mapping_next(mapping)) {
        struct mapping *newest = gather->last_record;

        if (mapping->pending) {
            continue;
        }
        mapping->pending = true;
        mapping->next = NULL;
        if (newest != NULL) {
            newest->next = mapping;
        } else {
            gather->first_record = mapping;
        }
        gather->last_record = mapping;
        gather_add(gather, mapping->node.first, mapping->node.last);
        *unmapped += mapping->node.last - mapping->node.first + 1;
    }
    return *unmapped != 0 ? 0 : -PIOMMU_ENOENT;
}

/*
 * Produces the ranges of a gather. Records that follow each other in the gather and in the tree
 * become one range: nothing else lies between them.
 */
struct gather_source {
    struct piommu_range_source source;
    const struct mapping *next;
};

static bool next_of_gather(struct piommu_range_source *source, struct piommu_range *range)
{
    struct gather_source *gather = (struct gather_source *)(void *)source;
    const struct mapping *mapping = gather->next;

    if (mapping == NULL) {
        return false;
    }
    range->first = mapping->node.first;
    while (mapping->next != NULL && mapping_next(mapping) == mapping->next) {
        mapping = mapping->next;
    }
    range->last = mapping->node.last;
    gather->next = mapping->next;
    return true;
}

int piommu_requests_sync_(struct piommu_domain *domain, struct piommu_gather *gather)
{
    struct piommu_instance *instance = domain->instance;
    struct mapping *chain = gather->first_record;

    if (domain->statistics.endpoints != 0) {
        struct gather_source source = {.source = {.next = next_of_gather}, .next = chain};
        int error = instance->backend->unmap(instance->unit, domain->handle, &source.source);

        if (error != 0) {
            return piommu_instance_fail_(instance, error);
        }
    }
    for (const struct mapping *mapping = chain; mapping != NULL; mapping = mapping->next) {
        piommu_range_tree_remove_(&domain->mappings, (struct range_node *)&mapping->node);
    }
    free_chain(domain, chain);
    piommu_gather_init(gather);
    return 0;
}

int piommu_requests_lookup_(struct piommu_domain *domain, uint64_t iova,
                            struct piommu_translation *result)
{
    const struct mapping *mapping = mapping_from(domain, iova);

    if (mapping == NULL || mapping->pending || mapping->node.first > iova) {
        return -PIOMMU_ENOENT;
    }
    result->physical = mapping->physical + (iova - mapping->node.first);
    result->leaf_size = mapping->node.last - mapping->node.first + 1;
    result->prot = mapping->prot;
    return 0;
}
