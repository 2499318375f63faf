/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Domains whose backend takes requests. The hardware shows nothing of what it holds, so each
 * request is recorded here: for lookup, for the edges that an unmap must respect, and to tell all
 * of it again when the domain gets its first endpoint on an instance. Deferred domains with page
 * tables record the same way what is to come into their tables.
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
    piommu_host_free_(domain->context->host, mapping, sizeof(*mapping));
}

void piommu_requests_free_chain_(const struct piommu_domain *domain, struct mapping *chain)
{
    while (chain != NULL) {
        struct mapping *next = chain->next;

        free_mapping(domain, chain);
        chain = next;
    }
}

void piommu_requests_free_gone_(struct piommu_domain *domain)
{
    piommu_requests_free_chain_(domain, domain->gone);
    domain->gone = NULL;
}

bool piommu_requests_free_(struct piommu_domain *domain, uint32_t *budget)
{
    struct mapping *mapping;

    while ((mapping = mapping_from(domain, 0)) != NULL) {
        if (*budget == 0) {
            return false;
        }
        (*budget)--;
        piommu_range_tree_remove_(&domain->mappings, &mapping->node);
        free_mapping(domain, mapping);
    }
    return true;
}

void piommu_requests_begin_(struct piommu_domain *domain)
{
    struct piommu_context *context = domain->context;

    for (;;) {
        unsigned long state = piommu_context_lock_(context);
        bool free = !domain->busy;
        bool posts = PIOMMU_CORE_WITH_POSTS && domain->posts != 0;

        domain->busy = true;
        piommu_context_unlock_(context, state);
        if (free && posts) {
            /* From now on there are no new ones. */
            piommu_posts_wait_(domain);
        }
        if (free) {
            return;
        }
        /* Servicing blocks a group of this domain, and each of its waits has a deadline. */
        pause_for_other(context);
    }
}

void piommu_requests_end_(struct piommu_domain *domain)
{
    unsigned long state = piommu_context_lock_(domain->context);

    domain->busy = false;
    piommu_context_unlock_(domain->context, state);
}

bool piommu_must_know_(const struct binding *binding, int *error)
{
    if (instance_failed(binding->instance)) {
        if (binding_matters(binding)) {
            *error = -PIOMMU_EFAILED;
        }
        return false;
    }
    return binding->live != 0;
}

/* Produces the mappings of one map call, which are chained. */
struct chain_source {
    struct piommu_mapping_source source;
    const struct mapping *next;
};

void piommu_requests_describe_(const struct mapping *mapping, struct piommu_backend_mapping *result)
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
    piommu_requests_describe_(chain->next, result);
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
    piommu_requests_describe_(all->next, result);
    all->next = mapping_next(all->next);
    return true;
}

int piommu_requests_replay_(struct binding *binding)
{
    struct piommu_instance *instance = binding->instance;
    struct chain_source all = {.source = {.next = next_of_domain},
                               .next = mapping_from(binding->domain, 0)};

    /* Not even an empty request for a domain without live mappings. */
    while (all.next != NULL && all.next->pending) {
        all.next = mapping_next(all.next);
    }
    if (all.next == NULL) {
        return 0;
    }
    return piommu_instance_judge_(
        instance, instance->backend->map(instance->unit, binding->handle, &all.source));
}

static struct mapping *take_record(struct piommu_domain *domain)
{
    struct mapping *record = domain->spare;

    domain->spare = NULL;
    if (record == NULL && domain->gone != NULL) {
        record = domain->gone;
        domain->gone = record->next;
        memset(record, 0, sizeof(*record));
    }
    return record != NULL ? record : piommu_host_alloc_(domain->context->host, sizeof(*record));
}

int piommu_requests_make_(struct piommu_domain *domain, uint64_t iova,
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
            current = take_record(domain);
            if (current == NULL) {
                piommu_requests_free_chain_(domain, *chain);
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

/* Produces ranges: one, or those of mappings. */
struct ranges {
    struct piommu_range_source source;
    const struct mapping *next; /* NULL: no more */
    struct piommu_range range;  /* what to produce, or where to end */
    bool done;
};

static struct ranges *ranges_of(struct piommu_range_source *source)
{
    return (struct ranges *)(void *)source;
}

/* One range. */
static bool next_single(struct piommu_range_source *source, struct piommu_range *range)
{
    struct ranges *single = ranges_of(source);

    if (single->done) {
        return false;
    }
    *range = single->range;
    single->done = true;
    return true;
}

/* The ranges of mappings that are chained. */
static bool next_chain_range(struct piommu_range_source *source, struct piommu_range *range)
{
    struct ranges *chain = ranges_of(source);

    if (chain->next == NULL) {
        return false;
    }
    range->first = chain->next->node.first;
    range->last = chain->next->node.last;
    chain->next = chain->next->next;
    return true;
}

/*
 * Makes all hardware forget ranges, up to and without the binding `end`. A unit that does not obey
 * fails; the others go on.
 */
static INLINE_IF_SHALLOW int forget_all(const struct piommu_domain *domain,
                                        const struct binding *end, struct ranges *ranges)
{
    const struct mapping *first = ranges->next;
    int result = 0;

    for (const struct binding *binding = domain->bindings; binding != end;
         binding = binding->next) {
        struct piommu_instance *instance = binding->instance;
        int error;

        if (!piommu_must_know_(binding, &result)) {
            continue;
        }
        count_loosely(&instance->invalidations);
        /* From the beginning for each. */
        ranges->next = first;
        ranges->done = false;
        error = instance->backend->unmap(instance->unit, binding->handle, &ranges->source);
        if (error != 0) {
            result = piommu_instance_fail_(instance, error);
        }
    }
    return result;
}

/*
 * Tells new mappings to all hardware. After an error it may be in force up to and without the
 * binding `end`: a unit has refused it, or has failed since this call began.
 */
static ALWAYS_INLINE int tell_all(const struct piommu_domain *domain, const struct mapping *chain,
                                  const struct binding **end)
{
    int result = 0;

    *end = NULL;
    for (const struct binding *binding = domain->bindings; binding != NULL;
         binding = binding->next) {
        struct piommu_instance *instance = binding->instance;
        struct chain_source source = {.source = {.next = next_of_chain}, .next = chain};
        int error;

        if (!piommu_must_know_(binding, &result)) {
            continue;
        }
        error = piommu_instance_judge_(
            instance, instance->backend->map(instance->unit, binding->handle, &source.source));
        if (error != 0) {
            *end = binding->next;
            return error;
        }
    }
    return result;
}

/* Takes back what not all have taken. Nothing else lies in its range. */
static APART_IF_SHALLOW int forget_new(const struct piommu_domain *domain,
                                       const struct binding *end, struct piommu_range range,
                                       int error)
{
    /* One request for the whole range will do. */
    struct ranges all = {.source = {.next = next_single}, .range = range};

    return forget_all(domain, end, &all) != 0 ? -PIOMMU_EFAILED : error;
}

/* As tell_all, but if not all take it, none has it after that. */
static APART_IF_SHALLOW int send_new(const struct piommu_domain *domain,
                                     const struct mapping *chain, struct piommu_range range)
{
    const struct binding *end;
    int error = tell_all(domain, chain, &end);

    return error != 0 ? forget_new(domain, end, range, error) : 0;
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

/* The records of a map call where nothing is mapped yet; see piommu_requests_make_. */
static int make_records(struct piommu_domain *domain, uint64_t iova,
                        const struct piommu_segment *segments, size_t count, piommu_prot prot,
                        struct mapping **chain)
{
    if (range_tree_overlaps(&domain->mappings, iova, iova + (segments_size(segments, count) - 1))) {
        return -PIOMMU_EEXIST;
    }
    return piommu_requests_make_(domain, iova, segments, count, prot, chain);
}

int piommu_requests_record_only_(struct piommu_domain *domain, uint64_t iova,
                                 const struct piommu_segment *segments, size_t count,
                                 piommu_prot prot)
{
    struct mapping *chain;
    int error = make_records(domain, iova, segments, count, prot, &chain);

    if (error == 0) {
        insert_chain(domain, chain);
    }
    return error;
}

int piommu_requests_map_(struct piommu_domain *domain, uint64_t iova,
                         const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    struct piommu_range range = {.first = iova,
                                 .last = iova + (segments_size(segments, count) - 1)};
    struct mapping *chain;
    int error = make_records(domain, iova, segments, count, prot, &chain);

    if (error != 0) {
        return error;
    }
    if (domain->bindings != NULL) {
        piommu_requests_begin_(domain);
        error = send_new(domain, chain, range);
        if (error == 0) {
            insert_chain(domain, chain);
        }
        piommu_requests_end_(domain);
        if (error != 0) {
            piommu_requests_free_chain_(domain, chain);
        }
        return error;
    }
    insert_chain(domain, chain);
    return 0;
}

int piommu_requests_map_direct_(struct piommu_domain *domain, struct piommu_range range,
                                piommu_prot prot)
{
    struct piommu_segment segment = {.physical = range.first, .size = range.last - range.first + 1};
    int error = piommu_requests_map_(domain, range.first, &segment, 1, prot);

    if (error == 0) {
        mapping_from(domain, range.first)->direct = true;
    }
    return error;
}

bool piommu_requests_record_(const struct piommu_domain *domain, uint64_t from,
                             struct piommu_frames *frames)
{
    const struct mapping *mapping = mapping_from(domain, from);

    if (mapping != NULL) {
        frames->iova = mapping->node.first;
        frames->physical = mapping->physical;
        frames->size = mapping->node.last - mapping->node.first + 1;
        frames->prot = mapping->prot;
    }
    return mapping != NULL;
}

bool piommu_requests_foreign_(const struct piommu_domain *domain, struct piommu_range range)
{
    const struct mapping *mapping = mapping_from(domain, range.first);

    while (mapping != NULL && mapping->node.first <= range.last) {
        if (!mapping->direct) {
            return true;
        }
        mapping = mapping_next(mapping);
    }
    return false;
}

bool piommu_requests_direct_(const struct piommu_domain *domain, struct piommu_range range)
{
    const struct mapping *mapping = mapping_from(domain, range.first);

    while (mapping != NULL && mapping->node.first <= range.last) {
        if (mapping->direct && !mapping->pending) {
            return true;
        }
        mapping = mapping_next(mapping);
    }
    return false;
}

bool piommu_requests_pending_(const struct piommu_domain *domain, struct piommu_range range)
{
    const struct mapping *mapping = mapping_from(domain, range.first);

    while (mapping != NULL && mapping->node.first <= range.last) {
        if (mapping->pending) {
            return true;
        }
        mapping = mapping_next(mapping);
    }
    return false;
}

bool piommu_requests_cuts_(const struct piommu_domain *domain, struct piommu_range range)
{
    const struct mapping *lower = mapping_from(domain, range.first);
    const struct mapping *upper = mapping_from(domain, range.last);

    return (lower != NULL && !lower->pending && lower->node.first < range.first) ||
           (upper != NULL && !upper->pending && upper->node.first <= range.last &&
            upper->node.last > range.last);
}

int piommu_requests_unmap_(struct piommu_domain *domain, struct piommu_range range, uint32_t budget,
                           struct piommu_gather *gather, uint64_t *done, uint64_t *unmapped)
{
    struct mapping *mapping;
    bool any = false;

    *done = range.last;
    if (piommu_requests_cuts_(domain, range)) {
        return -PIOMMU_ECUT;
    }
    for (mapping = mapping_from(domain, range.first);
         mapping != NULL && mapping->node.first <= range.last; mapping = mapping_next(mapping)) {
        struct mapping *newest = gather->last_record;

        if (budget-- == 0) {
            *done = mapping->node.first - 1;
            return 0;
        }
        if (mapping->pending) {
            continue;
        }
        any = true;
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
    return any ? 0 : -PIOMMU_ENOENT;
}

void piommu_requests_merge_(struct piommu_gather *from, struct piommu_gather *into)
{
    struct mapping *newest = into->last_record;

    if (newest != NULL) {
        newest->next = from->first_record;
    } else {
        into->first_record = from->first_record;
    }
    into->last_record = from->last_record;
}

/* Merges two chains that are in ascending order. */
static struct mapping *merge(struct mapping *left, struct mapping *right)
{
    struct mapping *merged = NULL;
    struct mapping **tail = &merged;

    while (left != NULL && right != NULL) {
        struct mapping **lower = left->node.first < right->node.first ? &left : &right;

        *tail = *lower;
        tail = &(*lower)->next;
        *lower = (*lower)->next;
    }
    *tail = left != NULL ? left : right;
    return merged;
}

static bool is_ascending(const struct mapping *chain)
{
    while (chain != NULL && chain->next != NULL && chain->node.first < chain->next->node.first) {
        chain = chain->next;
    }
    return chain == NULL || chain->next == NULL;
}

/*
 * So that neighbours become one request in whatever order they were unmapped. A merge sort, whose
 * sorted[i] is empty or a chain of 2^i. Not inlined even by the linker: that takes a lot of stack.
 */
NEVER_INLINE void piommu_requests_sort_(struct piommu_gather *gather)
{
    struct mapping *sorted[32] = {NULL};
    struct mapping *rest = gather->first_record;
    struct mapping *all = NULL;
    unsigned int most = 0;

    if (is_ascending(rest)) {
        return;
    }
    while (rest != NULL) {
        struct mapping *one = rest;
        unsigned int i = 0;

        rest = rest->next;
        one->next = NULL;
        for (; i < 31 && sorted[i] != NULL; i++) {
            one = merge(sorted[i], one);
            sorted[i] = NULL;
        }
        sorted[i] = merge(sorted[i], one);
        most = i > most ? i : most;
    }
    for (unsigned int i = 0; i <= most; i++) {
        all = merge(sorted[i], all);
    }
    gather->first_record = all;
    while (all->next != NULL) {
        all = all->next;
    }
    gather->last_record = all;
}

/*
 * The ranges of a gather. Records that follow each other in the gather and in the tree become one
 * range: nothing else lies between them.
 */
static bool next_of_gather(struct piommu_range_source *source, struct piommu_range *range)
{
    struct ranges *gather = ranges_of(source);
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

static APART_IF_SHALLOW int forget_gather(const struct piommu_domain *domain,
                                          const struct piommu_gather *gather)
{
    struct ranges ranges = {.source = {.next = next_of_gather}, .next = gather->first_record};

    return forget_all(domain, NULL, &ranges);
}

int piommu_requests_sync_(struct piommu_domain *domain, struct piommu_gather *gather)
{
    int error = 0;

    if (domain->bindings != NULL && !domain_takes_tables(domain)) {
        piommu_requests_sort_(gather);
        piommu_requests_free_gone_(domain);
        piommu_requests_begin_(domain);
        error = forget_gather(domain, gather);
        piommu_requests_end_(domain);
    }
    if (error == 0) {
        piommu_requests_forget_(domain, gather);
        gather->pending = domain_has_table(domain);
    }
    return error;
}

void piommu_requests_forget_(struct piommu_domain *domain, struct piommu_gather *gather)
{
    struct mapping *chain = gather->first_record;

    for (const struct mapping *mapping = chain; mapping != NULL; mapping = mapping->next) {
        piommu_range_tree_remove_(&domain->mappings, (struct range_node *)&mapping->node);
    }
    piommu_requests_free_chain_(domain, chain);
    gather->first_record = NULL;
    gather->last_record = NULL;
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

/* The ranges of all live mappings in a range that cuts none; see next_of_gather. */
static bool next_live_range(struct piommu_range_source *source, struct piommu_range *range)
{
    struct ranges *live = ranges_of(source);
    const struct mapping *mapping = live->next;
    const struct mapping *next;

    if (mapping == NULL) {
        return false;
    }
    range->first = mapping->node.first;
    for (;;) {
        next = mapping_next(mapping);
        if (next == NULL || next->pending || next->node.first > live->range.last) {
            break;
        }
        mapping = next;
    }
    range->last = mapping->node.last;
    live->next = live_from((struct mapping *)next, live->range.last);
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
    piommu_requests_describe_(live->next, result);
    live->next = live_from(mapping_next(live->next), live->last);
    return true;
}

/* Makes all hardware forget the live mappings of a range that cuts none. */
static int forget(const struct piommu_domain *domain, struct piommu_range range)
{
    struct ranges live = {
        .source = {.next = next_live_range},
        .next = live_from(mapping_from(domain, range.first), range.last),
        .range = range,
    };

    return forget_all(domain, NULL, &live);
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
    mapping = piommu_host_alloc_(domain->context->host, sizeof(*mapping));
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

/* Takes back mappings that not all have taken. */
static APART_IF_SHALLOW int forget_chain(const struct piommu_domain *domain,
                                         const struct binding *end, const struct mapping *chain,
                                         int error)
{
    struct ranges ranges = {.source = {.next = next_chain_range}, .next = chain};

    return forget_all(domain, end, &ranges) != 0 ? -PIOMMU_EFAILED : error;
}

/* The hardware's part of a cut: everything goes, and what stays comes again. */
static APART_IF_SHALLOW int resend(struct piommu_domain *domain, struct piommu_range whole,
                                   const struct mapping *chain, uint64_t *dropped)
{
    const struct binding *end;
    int error = forget(domain, whole);

    *dropped = drop(domain, whole);
    if (error == 0 && chain != NULL) {
        error = tell_all(domain, chain, &end);
        if (error != 0) {
            error = forget_chain(domain, end, chain, error);
        }
    }
    return error;
}

int piommu_requests_cut_(struct piommu_domain *domain, struct piommu_range range,
                         uint64_t *unmapped, uint64_t *lost)
{
    const struct piommu_range whole = piommu_requests_widen_(domain, range);
    struct mapping *lower;
    struct mapping *upper;
    struct mapping *chain;
    uint64_t dropped;
    uint64_t kept = 0;
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
    piommu_requests_begin_(domain);
    error = resend(domain, whole, chain, &dropped);
    *unmapped = dropped - kept;
    if (error == 0) {
        insert_chain(domain, chain);
    }
    piommu_requests_end_(domain);
    if (error != 0) {
        *lost = kept;
        piommu_requests_free_chain_(domain, chain);
        return error == -PIOMMU_EFAILED ? error : -PIOMMU_EIO;
    }
    return 0;
}

/* Tells all hardware the live mappings of a range again; if one unit refuses they go everywhere. */
static int send_again(struct piommu_domain *domain, struct piommu_range range, uint64_t *lost)
{
    int result = 0;

    for (const struct binding *binding = domain->bindings; binding != NULL;
         binding = binding->next) {
        struct piommu_instance *instance = binding->instance;
        struct live_mappings live = {
            .source = {.next = next_live_mapping},
            .next = live_from(mapping_from(domain, range.first), range.last),
            .last = range.last,
        };
        int error;

        if (!piommu_must_know_(binding, &result)) {
            continue;
        }
        error = piommu_instance_judge_(
            instance, instance->backend->map(instance->unit, binding->handle, &live.source));
        if (error != 0 && error != -PIOMMU_EFAILED) {
            error = forget(domain, range);
            *lost = drop(domain, range);
            return error != 0 ? error : -PIOMMU_EIO;
        }
        result = error != 0 ? error : result;
    }
    return result;
}

int piommu_requests_protect_(struct piommu_domain *domain, struct piommu_range range,
                             piommu_prot prot, bool hole, uint64_t *changed, uint64_t *lost)
{
    const piommu_prot changes = PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK;
    struct mapping *first = live_from(mapping_from(domain, range.first), range.last);
    bool differs = false;
    int error;

    if (first == NULL) {
        return -PIOMMU_ENOENT;
    }
    if (piommu_requests_cuts_(domain, range)) {
        return -PIOMMU_ECUT;
    }
    for (const struct mapping *mapping = first; mapping != NULL;
         mapping = live_from(mapping_next(mapping), range.last)) {
        differs = differs || (mapping->prot & changes) != prot;
        *changed += mapping->node.last - mapping->node.first + 1;
    }
    if (differs && !hole && domain->statistics.endpoints != 0) {
        return -PIOMMU_EHOLE;
    }
    piommu_requests_begin_(domain);
    error = differs ? forget(domain, range) : 0;
    for (struct mapping *mapping = first; mapping != NULL;
         mapping = live_from(mapping_next(mapping), range.last)) {
        mapping->prot = (mapping->prot & ~changes) | prot;
    }
    if (differs) {
        /* Also if one unit has failed: the others have forgotten what they are to have. */
        int again = send_again(domain, range, lost);

        error = error != 0 ? error : again;
    }
    piommu_requests_end_(domain);
    return error;
}

bool piommu_requests_peek_(const struct piommu_domain *domain, struct piommu_frames *frames)
{
    /* Below the cursor nothing is left but what waits for its sync. */
    const struct mapping *mapping = live_from(mapping_from(domain, domain->cursor), UINT64_MAX);

    if (mapping == NULL) {
        return false;
    }
    frames->iova = mapping->node.first;
    frames->physical = mapping->physical;
    frames->size = mapping->node.last - mapping->node.first + 1;
    frames->prot = mapping->prot;
    return true;
}

void piommu_requests_consume_(struct piommu_domain *domain, uint64_t size)
{
    struct mapping *mapping = live_from(mapping_from(domain, domain->cursor), UINT64_MAX);

    if (size - 1 == mapping->node.last - mapping->node.first) {
        piommu_range_tree_remove_(&domain->mappings, &mapping->node);
        free_mapping(domain, mapping);
    } else {
        /* It shrinks where it is: no other can come in between. */
        mapping->node.first += size;
        mapping->physical += size;
    }
}

uint64_t piommu_requests_end_of_(const struct piommu_domain *domain, struct piommu_range range,
                                 uint32_t budget)
{
    struct mapping *mapping = live_from(mapping_from(domain, range.first), range.last);
    uint64_t last = range.last;

    while (mapping != NULL && budget-- != 0) {
        last = mapping->node.last;
        mapping = live_from(mapping_next(mapping), range.last);
    }
    return mapping != NULL ? last : range.last;
}

void piommu_requests_discard_(struct piommu_domain *domain, struct piommu_range range)
{
    (void)drop(domain, range);
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
