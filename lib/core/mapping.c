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

/* Produces the ranges of mappings that are chained. */
struct chain_ranges {
    struct piommu_range_source source;
    const struct mapping *next;
};

static bool next_chain_range(struct piommu_range_source *source, struct piommu_range *range)
{
    struct chain_ranges *chain = (struct chain_ranges *)(void *)source;

    if (chain->next == NULL) {
        return false;
    }
    range->first = chain->next->node.first;
    range->last = chain->next->node.last;
    chain->next = chain->next->next;
    return true;
}

/*
 * Tells new mappings to the hardware. If it refuses, some of them may be in force, and have to go
 * again.
 */
static int send_new(struct piommu_domain *domain, const struct mapping *chain,
                    struct piommu_range_source *undo_source)
{
    struct piommu_instance *instance = domain->instance;
    struct chain_source source = {.source = {.next = next_of_chain}, .next = chain};
    int error = piommu_instance_judge_(
        instance, instance->backend->map(instance->unit, domain->handle, &source.source));

    if (error != 0 && error != -PIOMMU_EFAILED) {
        int undo = instance->backend->unmap(instance->unit, domain->handle, undo_source);

        if (undo != 0) {
            return piommu_instance_fail_(instance, undo);
        }
    }
    return error;
}

static void insert_chain(struct piommu_domain *domain, struct mapping *chain)
{
    while (chain != NULL) {
        struct mapping *next = chain->next;

        chain->next = NULL;
        (void)piommu_range_tree_insert_(&domain->mappings, &chain->node);
        chain = next;
    }
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
        /* One request for the whole range will do, since nothing else lies in it. */
        struct single_range all = {.source = {.next = next_single}, .range = range};

        error = send_new(domain, chain, &all.source);
        if (error != 0) {
            free_chain(domain, chain);
            return error;
        }
    }
    insert_chain(domain, chain);
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

/* The first mapping of a range that is live, from a mapping on. */
static struct mapping *live_from(struct mapping *mapping, uint64_t last)
{
    while (mapping != NULL && mapping->pending && mapping->node.first <= last) {
        mapping = mapping_next(mapping);
    }
    return mapping != NULL && mapping->node.first <= last ? mapping : NULL;
}

int piommu_requests_next_(struct piommu_domain *domain, uint64_t first, uint64_t last,
                          uint64_t *found, struct piommu_translation *result)
{
    const struct mapping *mapping = live_from(mapping_from(domain, first), last);

    if (mapping == NULL) {
        return -PIOMMU_ENOENT;
    }
    *found = mapping->node.first;
    result->physical = mapping->physical;
    result->leaf_size = mapping->node.last - mapping->node.first + 1;
    result->prot = mapping->prot;
    return 0;
}

struct piommu_range piommu_requests_widen_(const struct piommu_domain *domain,
                                           struct piommu_range range)
{
    const struct mapping *lower = mapping_from(domain, range.first);
    const struct mapping *upper = mapping_from(domain, range.last);

    if (lower != NULL && !lower->pending && lower->node.first < range.first) {
        range.first = lower->node.first;
    }
    if (upper != NULL && !upper->pending && upper->node.first <= range.last &&
        upper->node.last > range.last) {
        range.last = upper->node.last;
    }
    return range;
}

/* Produces the ranges of all live mappings in a range that cuts none; see next_of_gather. */
struct live_ranges {
    struct piommu_range_source source;
    struct mapping *next;
    uint64_t last;
};

static bool next_live_range(struct piommu_range_source *source, struct piommu_range *range)
{
    struct live_ranges *live = (struct live_ranges *)(void *)source;
    struct mapping *mapping = live->next;
    struct mapping *next;

    if (mapping == NULL) {
        return false;
    }
    range->first = mapping->node.first;
    for (;;) {
        next = mapping_next(mapping);
        if (next == NULL || next->pending || next->node.first > live->last) {
            break;
        }
        mapping = next;
    }
    range->last = mapping->node.last;
    live->next = live_from(next, live->last);
    return true;
}

/* Produces the live mappings of a range. */
struct live_mappings {
    struct piommu_mapping_source source;
    struct mapping *next;
    uint64_t last;
};

static bool next_live_mapping(struct piommu_mapping_source *source,
                              struct piommu_backend_mapping *result)
{
    struct live_mappings *live = (struct live_mappings *)(void *)source;

    if (live->next == NULL) {
        return false;
    }
    describe(live->next, result);
    live->next = live_from(mapping_next(live->next), live->last);
    return true;
}

/* Makes the hardware forget all live mappings of a range that cuts none. */
static int forget(struct piommu_domain *domain, struct piommu_range range)
{
    struct piommu_instance *instance = domain->instance;
    struct live_ranges live = {
        .source = {.next = next_live_range},
        .next = live_from(mapping_from(domain, range.first), range.last),
        .last = range.last,
    };
    int error = instance->backend->unmap(instance->unit, domain->handle, &live.source);

    return error != 0 ? piommu_instance_fail_(instance, error) : 0;
}

/* Removes the records of all live mappings of a range; returns their bytes. */
static uint64_t drop(struct piommu_domain *domain, struct piommu_range range)
{
    struct mapping *mapping = live_from(mapping_from(domain, range.first), range.last);
    uint64_t bytes = 0;

    while (mapping != NULL) {
        struct mapping *next = live_from(mapping_next(mapping), range.last);

        bytes += mapping->node.last - mapping->node.first + 1;
        piommu_range_tree_remove_(&domain->mappings, &mapping->node);
        free_mapping(domain, mapping);
        mapping = next;
    }
    return bytes;
}

/* Makes the record of what stays of a mapping, from `first` to `last`; NULL if nothing does. */
static int make_remainder(const struct piommu_domain *domain, uint64_t first, uint64_t last,
                          bool stays, struct mapping **result)
{
    const struct mapping *whole = mapping_from(domain, first);
    struct mapping *mapping;

    *result = NULL;
    if (!stays) {
        return 0;
    }
    mapping = piommu_host_alloc(domain->instance->host, sizeof(*mapping));
    if (mapping == NULL) {
        return -PIOMMU_ENOMEM;
    }
    mapping->node.first = first;
    mapping->node.last = last;
    mapping->physical = whole->physical + (first - whole->node.first);
    mapping->prot = whole->prot;
    *result = mapping;
    return 0;
}

int piommu_requests_cut_(struct piommu_domain *domain, struct piommu_range range,
                         struct piommu_range whole, uint64_t *unmapped, uint64_t *lost)
{
    bool reached = domain->statistics.endpoints != 0;
    struct mapping *lower;
    struct mapping *upper;
    struct mapping *chain;
    uint64_t kept;
    int error =
        make_remainder(domain, whole.first, range.first - 1, whole.first < range.first, &lower);

    if (error == 0) {
        error = make_remainder(domain, range.last + 1, whole.last, whole.last > range.last, &upper);
        if (error != 0 && lower != NULL) {
            free_mapping(domain, lower);
        }
    }
    if (error != 0) {
        return error;
    }
    kept = (range.first - whole.first) + (whole.last - range.last);
    chain = lower != NULL ? lower : upper;
    if (lower != NULL) {
        lower->next = upper;
    }
    if (reached) {
        error = forget(domain, whole);
    }
    *unmapped = drop(domain, whole) - kept;
    if (error == 0 && reached && chain != NULL) {
        struct chain_ranges ranges = {.source = {.next = next_chain_range}, .next = chain};

        error = send_new(domain, chain, &ranges.source);
    }
    if (error != 0) {
        *lost = kept;
        free_chain(domain, chain);
        return error == -PIOMMU_EFAILED ? error : -PIOMMU_EIO;
    }
    insert_chain(domain, chain);
    return 0;
}

int piommu_requests_protect_(struct piommu_domain *domain, struct piommu_range range,
                             piommu_prot prot, bool hole, uint64_t *changed, uint64_t *lost)
{
    const piommu_prot changes = PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK;
    struct piommu_instance *instance = domain->instance;
    bool reached = domain->statistics.endpoints != 0;
    struct mapping *first = live_from(mapping_from(domain, range.first), range.last);
    struct live_mappings live = {
        .source = {.next = next_live_mapping}, .next = first, .last = range.last};
    bool differs = false;
    int error;

    if (first == NULL) {
        return -PIOMMU_ENOENT;
    }
    if (cuts(domain, range.first, range.last)) {
        return -PIOMMU_ECUT;
    }
    for (const struct mapping *mapping = first; mapping != NULL;
         mapping = live_from(mapping_next(mapping), range.last)) {
        differs = differs || (mapping->prot & changes) != prot;
        *changed += mapping->node.last - mapping->node.first + 1;
    }
    reached = reached && differs;
    if (reached && !hole) {
        return -PIOMMU_EHOLE;
    }
    error = reached ? forget(domain, range) : 0;
    for (struct mapping *mapping = first; mapping != NULL;
         mapping = live_from(mapping_next(mapping), range.last)) {
        mapping->prot = (mapping->prot & ~changes) | prot;
    }
    if (error != 0 || !reached) {
        return error;
    }
    error = piommu_instance_judge_(
        instance, instance->backend->map(instance->unit, domain->handle, &live.source));
    if (error != 0 && error != -PIOMMU_EFAILED) {
        /* Some of them may be in force. */
        error = forget(domain, range);
        *lost = drop(domain, range);
        return error != 0 ? error : -PIOMMU_EIO;
    }
    return error;
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
