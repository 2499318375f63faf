/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Changes that nobody waits for, in domains whose backend takes requests.
 *
 * A post tells one unit after the other, so that at each moment one of them has its completion. In
 * between, and when all have answered, it is in the hands of whoever has taken in the last answer:
 * servicing, or a call that waits until nothing is under way in a domain.
 *
 * Nobody but Mapping, which the caller serialises, touches the record of a domain. So a post enters
 * its records when it is made, marked as pending, and only what has become of them is told later:
 * each call on the domain takes that in first (enter_mapping).
 */

#include "core.h"

/* ---- The domain's side ---- */

/* Whether posts are possible wherever the domain is. */
static bool can_post(const struct piommu_domain *domain)
{
    const struct binding *binding = domain->bindings;

    while (binding != NULL && binding->instance->backend->post_map != NULL) {
        binding = binding->next;
    }
    return PIOMMU_CORE_WITH_POSTS && binding == NULL;
}

/* Counts a post as being under way, unless somebody needs that there are none. */
static int begin(struct piommu_domain *domain)
{
    unsigned long state = piommu_context_lock_(domain->context);
    bool busy = domain->busy;

    if (!busy) {
        domain->posts++;
        domain->owed++;
    }
    piommu_context_unlock_(domain->context, state);
    return busy ? -PIOMMU_EAGAIN : 0;
}

/* Undoes that, for a post that does not have to be completed. */
static void cancel(struct piommu_domain *domain)
{
    unsigned long state = piommu_context_lock_(domain->context);

    domain->posts--;
    domain->owed--;
    piommu_context_unlock_(domain->context, state);
}

static bool under_way(struct piommu_domain *domain)
{
    unsigned long state = piommu_context_lock_(domain->context);
    bool any = domain->posts != 0;

    piommu_context_unlock_(domain->context, state);
    return any;
}

bool piommu_posts_owed_(struct piommu_domain *domain)
{
    unsigned long state = piommu_context_lock_(domain->context);
    bool owed = domain->owed != 0;

    piommu_context_unlock_(domain->context, state);
    return owed;
}

void piommu_posts_wait_(struct piommu_domain *domain)
{
    for (;;) {
        for (const struct binding *binding = domain->bindings; binding != NULL;
             binding = binding->next) {
            piommu_posts_poll_(binding->instance, true);
        }
        if (!under_way(domain)) {
            return;
        }
        /* Each request that is under way has a deadline. */
        pause_for_other(domain->context);
    }
}

void piommu_posts_settle_(struct piommu_domain *domain)
{
    unsigned long state = piommu_context_lock_(domain->context);
    struct mapping *settled = domain->settled;

    domain->settled = NULL;
    atomic_store_explicit(&domain->has_settled, 0, memory_order_relaxed);
    piommu_context_unlock_(domain->context, state);
    while (settled != NULL) {
        struct mapping *next = settled->next;

        if (settled->gone) {
            /* It cannot be freed in every context. */
            piommu_range_tree_remove_(&domain->mappings, &settled->node);
            settled->next = domain->gone;
            domain->gone = settled;
        } else {
            settled->pending = false;
            settled->next = NULL;
        }
        settled = next;
    }
}

void piommu_posts_finish_(struct piommu_domain *domain)
{
    if (under_way(domain)) {
        piommu_posts_wait_(domain);
    }
    piommu_posts_settle_(domain);
}

/* ---- What is sent ---- */

/*
 * Produces the mappings of the records that are left to be told, or their ranges. The completion
 * itself knows how far that has come, since it can be in other hands as soon as the unit has it.
 */
struct records {
    union {
        struct piommu_mapping_source mappings;
        struct piommu_range_source ranges;
    } source;
    struct piommu_completion *completion;
};

static bool next_mapping(struct piommu_mapping_source *source,
                         struct piommu_backend_mapping *mapping)
{
    struct piommu_completion *completion = ((struct records *)(void *)source)->completion;
    const struct mapping *record = completion->rest;

    if (record == NULL) {
        return false;
    }
    piommu_requests_describe_(record, mapping);
    completion->rest = record->next;
    return true;
}

/*
 * Neighbours become one range. Holes are left alone, since another post may have something under
 * way there; the tree, which could tell, must not be looked at here.
 */
static bool next_range(struct piommu_range_source *source, struct piommu_range *range)
{
    struct piommu_completion *completion = ((struct records *)(void *)source)->completion;
    const struct mapping *record = completion->rest;

    if (record == NULL) {
        return false;
    }
    range->first = record->node.first;
    while (record->next != NULL && record->next->node.first - 1 == record->node.last) {
        record = record->next;
    }
    range->last = record->node.last;
    completion->rest = record->next;
    return true;
}

/* Tells a unit what is left to be told, as far as it has room; see post_map of the backend. */
static int send(struct piommu_completion *completion, const struct binding *binding)
{
    struct piommu_instance *instance = binding->instance;
    const struct piommu_backend *backend = instance->backend;
    struct records records = {.completion = completion};

    if (completion->maps) {
        records.source.mappings.next = next_mapping;
        return backend->post_map(instance->unit, binding->handle, &records.source.mappings,
                                 completion);
    }
    if (completion->rest == completion->chain) {
        count_loosely(&instance->invalidations);
    }
    records.source.ranges.next = next_range;
    return backend->post_unmap(instance->unit, binding->handle, &records.source.ranges, completion);
}

/*
 * Tells one unit after the other, until one of them has something to answer: 1, and the completion
 * is not ours any more; or it has no room: -PIOMMU_EAGAIN. 0: nobody is left to be told, or (of
 * mappings) to be told any more, since one has refused.
 */
static int tell(struct piommu_completion *completion)
{
    while (completion->binding != NULL && !(completion->maps && completion->error != 0)) {
        const struct binding *binding = completion->binding;
        int sent = 0;

        if (completion->rest != NULL && piommu_must_know_(binding, &completion->error)) {
            sent = send(completion, binding);
        }
        if (sent > 0) {
            return 1;
        }
        if (sent == -PIOMMU_EAGAIN) {
            return sent;
        }
        if (sent < 0) {
            completion->error = piommu_instance_note_failure_(binding->instance, sent);
        }
        completion->binding = binding->next;
        completion->rest = completion->chain;
    }
    return 0;
}

/* ---- What becomes of it ---- */

/* Begins to tell all that was mapped, or all that is to be unmapped. */
static void begin_telling(struct piommu_completion *completion, bool maps)
{
    completion->maps = maps;
    completion->binding = completion->domain->bindings;
    completion->rest = completion->chain;
}

/* Whether a unit has failed that has confirmed the mappings, or was spared them. */
static void look_for_failures(struct piommu_completion *completion)
{
    for (const struct binding *binding = completion->domain->bindings; binding != NULL;
         binding = binding->next) {
        (void)piommu_must_know_(binding, &completion->error);
    }
}

static NEVER_INLINE void trace(const struct piommu_completion *completion)
{
    const struct mapping *record = completion->chain;
    struct piommu_event event = {.kind = PIOMMU_EVENT_SYNC, .error = completion->error};

    if (completion->gather != NULL) {
        event.iova = completion->gather->range.first;
        event.size = range_size(completion->gather->range);
    } else {
        event.kind = PIOMMU_EVENT_MAP;
        event.iova = record->node.first;
        event.physical = record->physical;
        event.prot = record->prot;
        for (; record != NULL; record = record->next) {
            event.size += range_size((struct piommu_range){record->node.first, record->node.last});
        }
    }
    piommu_trace_domain_(completion->domain, &event);
}

/* All that was to be done is done; what is left is to say so. */
static APART_IF_SHALLOW void finish(struct piommu_completion *completion)
{
    struct piommu_domain *domain = completion->domain;
    struct piommu_gather *gather = completion->gather;
    bool succeeded = completion->error == 0;
    struct mapping *settled = gather == NULL || succeeded ? completion->chain : NULL;
    struct mapping *last = NULL;
    uint64_t bytes = 0;
    unsigned long state;

    if (domain_is_traced(domain)) {
        trace(completion);
    }
    for (struct mapping *record = settled; record != NULL; record = record->next) {
        record->gone = gather != NULL || !succeeded;
        bytes += record->node.last - record->node.first + 1;
        last = record;
    }
    if (gather != NULL && succeeded) {
        piommu_gather_init(gather);
    }
    state = piommu_context_lock_(domain->context);
    if (last != NULL) {
        last->next = domain->settled;
        domain->settled = settled;
        atomic_store_explicit(&domain->has_settled, 1, memory_order_release);
    }
    if (succeeded && gather != NULL) {
        domain->posted.syncs++;
    } else if (succeeded) {
        domain->posted.maps++;
        domain->posted.mapped += bytes;
    }
    domain->posts--;
    completions_append(&domain->context->ready, completion);
    piommu_context_unlock_(domain->context, state);
}

static void stall(struct piommu_completion *completion)
{
    struct piommu_context *context = completion->domain->context;
    unsigned long state = piommu_context_lock_(context);

    completions_append(&context->stalled, completion);
    piommu_context_unlock_(context, state);
}

void piommu_backend_report_answer(struct piommu_instance *instance,
                                  struct piommu_completion *completion)
{
    int answer = completion->answer;

    /* A unit may refuse to map, but not to forget. */
    if (answer != 0 && !completion->maps) {
        answer = piommu_instance_note_failure_(instance, answer);
    }
    if (completion->error == 0 || answer == -PIOMMU_EFAILED) {
        completion->error = answer;
    }
    /* It goes on when the backend has returned. */
    stall(completion);
}

/* Goes on with a post that nobody has to answer, as far as that is possible without waiting. */
static void advance(struct piommu_completion *completion)
{
    do {
        int told;

        if (completion->maps && completion->error != 0) {
            /* Some of it may be in force, with whomever. */
            begin_telling(completion, false);
        }
        told = tell(completion);
        if (told > 0) {
            return;
        }
        if (told != 0) {
            stall(completion);
            return;
        }
        if (completion->maps) {
            look_for_failures(completion);
        }
    } while (completion->maps && completion->error != 0);
    finish(completion);
}

/* Goes on with what was answered, and tries again to send what a unit has had no room for. */
static APART_IF_SHALLOW void go_on(struct piommu_context *context)
{
    unsigned long state = piommu_context_lock_(context);
    struct piommu_completion *chain = completions_take(&context->stalled);

    piommu_context_unlock_(context, state);
    while (chain != NULL) {
        struct piommu_completion *next = chain->next;

        advance(chain);
        chain = next;
    }
}

/* Takes in the answers of a unit that has failed, or fails now; stops it if nobody has tried to. */
static APART_IF_SHALLOW void poll_lost(struct piommu_instance *instance, int error)
{
    if (!instance_failed(instance)) {
        (void)piommu_instance_fail_(instance, error);
    } else if (instance_untouched(instance)) {
        (void)piommu_instance_stopped_(instance);
    }
    (void)instance->backend->poll(instance->unit);
}

void piommu_posts_poll_(struct piommu_instance *instance, bool may_wait)
{
    int error;

    if (instance->backend->poll == NULL || instance->waiting || instance->unit == NULL) {
        return;
    }
    error = instance->backend->poll(instance->unit);
    if (may_wait && (error != 0 || instance_failed(instance))) {
        poll_lost(instance, error);
    } else if (error != 0) {
        (void)piommu_instance_note_failure_(instance, error);
    }
    go_on(instance->context);
}

void piommu_posts_complete_(struct piommu_context *context)
{
    unsigned long state = piommu_context_lock_(context);
    struct piommu_completion *chain = completions_take(&context->ready);

    piommu_context_unlock_(context, state);
    while (chain != NULL) {
        struct piommu_completion *next = chain->next;

        state = piommu_context_lock_(context);
        chain->domain->owed--;
        piommu_context_unlock_(context, state);
        chain->done(chain, chain->error);
        chain = next;
    }
}

/* ---- Posting ---- */

/*
 * Posts what the records say. 0: it is under way, and the completion is not ours any more. Else
 * nobody has been told anything: 1: and nobody has to be; or an error.
 */
static int post(struct piommu_domain *domain, struct mapping *chain, struct piommu_gather *gather,
                struct piommu_completion *completion)
{
    int told;
    int error;

    completion->domain = domain;
    completion->gather = gather;
    completion->chain = chain;
    completion->error = 0;
    begin_telling(completion, gather == NULL);
    told = tell(completion);
    if (told > 0) {
        return 0;
    }
    error = told != 0 ? told : completion->error;
    cancel(domain);
    return error != 0 ? error : 1;
}

/* Enters records that are under way. They stay chained. */
static void enter(struct piommu_domain *domain, struct mapping *chain)
{
    for (; chain != NULL; chain = chain->next) {
        chain->pending = true;
        (void)piommu_range_tree_insert_(&domain->mappings, &chain->node);
    }
}

/* Nobody has to be told of them. */
static void put_in_force(struct mapping *chain)
{
    while (chain != NULL) {
        struct mapping *next = chain->next;

        chain->pending = false;
        chain->next = NULL;
        chain = next;
    }
}

static void withdraw(struct piommu_domain *domain, struct mapping *chain)
{
    for (struct mapping *record = chain; record != NULL; record = record->next) {
        piommu_range_tree_remove_(&domain->mappings, &record->node);
    }
    piommu_requests_free_chain_(domain, chain);
}

static int post_map(struct piommu_domain *domain, uint64_t iova,
                    const struct piommu_segment *segments, size_t count, piommu_prot prot,
                    struct piommu_completion *completion)
{
    struct mapping *chain;
    int result;

    if (range_tree_overlaps(&domain->mappings, iova, iova + (segments_size(segments, count) - 1))) {
        return -PIOMMU_EEXIST;
    }
    if (!can_post(domain)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    result = begin(domain);
    if (result != 0) {
        return result;
    }
    result = piommu_requests_make_(domain, iova, segments, count, prot, &chain);
    if (result != 0) {
        cancel(domain);
        return result;
    }
    enter(domain, chain);
    result = post(domain, chain, NULL, completion);
    if (result > 0) {
        put_in_force(chain);
    } else if (result < 0) {
        withdraw(domain, chain);
    }
    return result;
}

/* Whether a domain's calls never wait for answers: then a post is the call. */
static bool is_at_once(const struct piommu_domain *domain)
{
    return domain_takes_tables(domain) || domain_splits(domain);
}

int piommu_domain_map_list_post(struct piommu_domain *domain, uint64_t iova,
                                const struct piommu_segment *segments, size_t count,
                                piommu_prot prot, struct piommu_completion *completion)
{
    uint64_t last;
    int result;

    if (!enter_mapping(domain) || segments == NULL || count == 0 || completion == NULL ||
        completion->done == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (is_at_once(domain)) {
        result = piommu_domain_map_list(domain, iova, segments, count, prot);
        return result != 0 ? result : 1;
    }
    result = piommu_domain_check_map_(domain, iova, segments, count, prot, &last);
    if (result == 0) {
        result = post_map(domain, iova, segments, count, prot, completion);
    }
    if (result > 0) {
        piommu_domain_count_map_(domain, iova, last - iova + 1);
    }
    if (result != 0 && domain_is_traced(domain)) {
        piommu_trace_map_(domain, iova, segments, count, prot, result < 0 ? result : 0);
    }
    return result;
}

int piommu_domain_map_post(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                           uint64_t size, piommu_prot prot, struct piommu_completion *completion)
{
    struct piommu_segment segment = {.physical = physical, .size = size};

    return piommu_domain_map_list_post(domain, iova, &segment, 1, prot, completion);
}

static int post_sync(struct piommu_domain *domain, struct piommu_gather *gather,
                     struct piommu_completion *completion)
{
    int result = can_post(domain) ? begin(domain) : -PIOMMU_EOPNOTSUPP;

    if (result != 0) {
        return result;
    }
    piommu_requests_sort_(gather);
    piommu_requests_free_gone_(domain);
    result = post(domain, gather->first_record, gather, completion);
    if (result > 0) {
        piommu_requests_forget_(domain, gather);
        gather->pending = false;
        piommu_domain_count_sync_(domain);
    }
    return result;
}

int piommu_domain_sync_post(struct piommu_domain *domain, struct piommu_gather *gather,
                            struct piommu_completion *completion)
{
    struct piommu_range range;
    int result;

    if (!enter_mapping(domain) || gather == NULL || completion == NULL ||
        completion->done == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (!gather->pending || is_at_once(domain)) {
        result = piommu_domain_sync(domain, gather);
        return result != 0 ? result : 1;
    }
    range = gather->range;
    result = post_sync(domain, gather, completion);
    if (result != 0 && domain_is_traced(domain)) {
        piommu_trace_change_(domain, PIOMMU_EVENT_SYNC, range.first, range_size(range),
                             result < 0 ? result : 0);
    }
    return result;
}
