/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Domains: how they come and go, and the calls that map, unmap, sync and look. */

#include "core.h"

#include <piommu/io-pgtable-inspect.h>

#include "../base/gather.h"

int piommu_domain_make_table_(struct piommu_domain *domain)
{
    int error = piommu_pgtable_create(domain->context->host, &domain->table_config, &domain->table);

    if (error == 0) {
        piommu_pgtable_get_info(domain->table, &domain->table_info);
    }
    return error;
}

/* Makes what a domain has from the beginning: all but deferred ones. */
static int make_hardware(struct piommu_domain *domain)
{
    int error = 0;

    if (domain->config.type == PIOMMU_DOMAIN_BLOCKED ||
        domain->config.type == PIOMMU_DOMAIN_DEFERRED) {
        return 0;
    }
    if (domain_is_paging(domain) && domain_takes_tables(domain)) {
        error = piommu_domain_make_table_(domain);
    }
    return error != 0 ? error : piommu_bindings_make_permanent_(domain);
}

/* Frees what a domain has, in portions; true if all is gone. */
static bool free_parts(struct piommu_domain *domain, uint32_t *budget)
{
    struct piommu_host host = domain->context->host;

    piommu_bindings_drop_all_(domain);
    while (domain_has_table(domain)) {
        if (*budget == 0) {
            return false;
        }
        (*budget)--;
        if (piommu_gather_has_tables(&domain->parked)) {
            piommu_pgtable_release(domain->table, &domain->parked);
        }
        if (piommu_pgtable_destroy_some(domain->table, 1) == 0) {
            domain->table = NULL;
        }
    }
    if (!piommu_requests_free_(domain, budget)) {
        return false;
    }
    piommu_requests_free_gone_(domain);
    while (domain->doorbells != NULL) {
        struct doorbell *doorbell = domain->doorbells;

        domain->doorbells = doorbell->next;
        piommu_host_free_(host, doorbell, sizeof(*doorbell));
    }
    if (domain->destroying) {
        unsigned long state = piommu_context_lock_(domain->context);

        LIST_REMOVE(domain->context->domains, domain);
        piommu_context_unlock_(domain->context, state);
        for (size_t i = 0; i < domain->config.instance_count; i++) {
            domain->instances[i]->users--;
        }
    }
    piommu_host_free_(host, domain->instances,
                      domain->config.instance_count * sizeof(struct piommu_instance *));
    piommu_host_free_(host, domain, sizeof(*domain));
    return true;
}

/* What all instances of a paging domain can do. */
static APART_IF_SHALLOW int find_geometry(struct piommu_domain *domain)
{
    const struct piommu_domain_config *config = &domain->config;
    struct geometry *base = &domain->base;
    struct piommu_requirements all;
    int error = piommu_intersect_(config->instances, config->instance_count, &all,
                                  &domain->table_config, NULL);

    if (error != 0) {
        return error;
    }
    base->aperture = all.aperture;
    base->leaf_sizes = all.leaf_sizes;
    base->granule_mask = lowest_bit(all.leaf_sizes) - 1;
    base->last_output = last_of_width(all.output_bits);
    base->prot = all.prot;
    base->write_only = all.write_only;
    domain->geometry = *base;
    domain->table_config.owner = config->instances[0]->config.owner;
    return 0;
}

/* What a paging domain can be, and be made of. */
static int plan_paging(struct piommu_domain *domain)
{
    const struct piommu_domain_config *config = &domain->config;
    const struct piommu_range *window = &config->msi_window;
    const struct geometry *base = &domain->base;
    int error = find_geometry(domain);

    if (error == 0 && domain_takes_tables(domain)) {
        error = piommu_pgtable_describe(domain->context->host, &domain->table_config, 0,
                                        &domain->table_info);
    }
    if (error != 0) {
        return error;
    }
    if (config->disjoint) {
        if (!domain_takes_tables(domain)) {
            return -PIOMMU_EOPNOTSUPP;
        }
        domain->table_config.flags |= PIOMMU_PGTABLE_DISJOINT;
    }
    if (window->first == 0 && window->last == 0) {
        return 0;
    }
    if (window->first > window->last || window->first < base->aperture.first ||
        window->last > base->aperture.last ||
        ((window->first | (window->last + 1)) & base->granule_mask) != 0) {
        return -PIOMMU_ERANGE;
    }
    domain->window = *window;
    return 0;
}

static int plan_shared(struct piommu_domain *domain)
{
    const struct piommu_shared_table *shared = domain->config.shared;
    int error;

    if (!domain_takes_tables(domain)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (shared == NULL || shared->config == NULL ||
        (shared->config->format != PIOMMU_ARM_64_LPAE_S2 &&
         shared->config->format != PIOMMU_ARM_32_LPAE_S2)) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_pgtable_describe(domain->context->host, shared->config, shared->root,
                                    &domain->table_info);
    for (size_t i = 0; i < domain->config.instance_count && error == 0; i++) {
        error = piommu_check_shared_(domain->config.instances[i], &domain->table_info);
    }
    return error;
}

/* Decides what the domain is to be; changes nothing but the object. */
static int plan(struct piommu_domain *domain)
{
    const struct piommu_domain_config *config = &domain->config;
    int error = 0;

    switch (config->type) {
    case PIOMMU_DOMAIN_BLOCKED:
        return 0;
    case PIOMMU_DOMAIN_IDENTITY:
        for (size_t i = 0; i < config->instance_count && error == 0; i++) {
            error = config->instances[i]->info.identity ? 0 : -PIOMMU_EOPNOTSUPP;
        }
        return error;
    case PIOMMU_DOMAIN_SHARED:
        return plan_shared(domain);
    case PIOMMU_DOMAIN_DEFERRED:
        if (!PIOMMU_CORE_WITH_DEFERRED) {
            return -PIOMMU_EOPNOTSUPP;
        }
        domain->phase = PHASE_DORMANT;
        domain->splits = config->next_frames != NULL;
        error = plan_paging(domain);
        domain->cursor = domain->base.aperture.first;
        return error;
    default:
        return plan_paging(domain);
    }
}

/* Checks the instances of a configuration. */
static int check_instances(const struct piommu_domain_config *config)
{
    const struct piommu_instance *first = config->instances[0];

    for (size_t i = 0; i < config->instance_count; i++) {
        if (config->instances[i] == NULL) {
            return -PIOMMU_EINVAL;
        }
    }
    for (size_t i = 0; i < config->instance_count; i++) {
        struct piommu_instance *instance = config->instances[i];

        if (instance->context != first->context ||
            instance->backend->kind != first->backend->kind) {
            return -PIOMMU_EMIXED;
        }
        if (instance->waiting) {
            return -PIOMMU_EWAITING;
        }
        if (instance_failed(instance)) {
            return -PIOMMU_EFAILED;
        }
    }
    return 0;
}

static int make_domain(const struct piommu_domain_config *config, struct piommu_domain **result)
{
    struct piommu_context *context = config->instances[0]->context;
    struct piommu_domain *domain = piommu_host_alloc_(context->host, sizeof(*domain));
    size_t size = config->instance_count * sizeof(struct piommu_instance *);

    if (domain == NULL) {
        return -PIOMMU_ENOMEM;
    }
    domain->instances = piommu_host_alloc_(context->host, size);
    if (domain->instances == NULL) {
        piommu_host_free_(context->host, domain, sizeof(*domain));
        return -PIOMMU_ENOMEM;
    }
    memcpy(domain->instances, config->instances, size);
    domain->context = context;
    domain->config = *config;
    domain->config.instances = domain->instances;
    domain->kind = config->instances[0]->backend->kind;
    domain->traced = context->config.trace != NULL;
    domain->window.first = UINT64_MAX; /* and last is 0 */
    piommu_gather_init(&domain->parked);
    *result = domain;
    return 0;
}

int piommu_domain_create(const struct piommu_domain_config *config, struct piommu_domain **result)
{
    struct piommu_domain *domain;
    unsigned long state;
    int error;

    if (config == NULL || result == NULL || config->instances == NULL ||
        config->instance_count == 0 ||
        config->instance_count > SIZE_MAX / sizeof(struct piommu_instance *) ||
        (unsigned int)config->type > PIOMMU_DOMAIN_DEFERRED) {
        return -PIOMMU_EINVAL;
    }
    error = check_instances(config);
    if (error == 0) {
        error = make_domain(config, &domain);
    }
    if (error != 0) {
        return error;
    }
    error = plan(domain);
    if (error == 0) {
        error = make_hardware(domain);
    }
    domain->config.shared = NULL; /* the caller's, and not needed any more */
    piommu_trace_change_(domain, PIOMMU_EVENT_DOMAIN_CREATE, 0, 0, error);
    if (error != 0) {
        uint32_t budget = UINT32_MAX;

        (void)free_parts(domain, &budget);
        return error;
    }
    for (size_t i = 0; i < config->instance_count; i++) {
        domain->instances[i]->users++;
    }
    state = piommu_context_lock_(domain->context);
    LIST_APPEND(domain->context->domains, domain);
    piommu_context_unlock_(domain->context, state);
    *result = domain;
    return 0;
}

/* Whether an instance that has failed may still use what the domain has. */
static bool in_doubt(const struct piommu_domain *domain)
{
    for (const struct binding *binding = domain->bindings; binding != NULL;
         binding = binding->next) {
        if (instance_failed(binding->instance) && !piommu_instance_stopped_(binding->instance)) {
            return true;
        }
    }
    return false;
}

/* Takes a domain out of everything; what is left is its own memory. */
static int begin_destroying(struct piommu_domain *domain)
{
    int error;

    if (domain->groups != NULL || domain_owes_posts(domain)) {
        return -PIOMMU_EBUSY;
    }
    if (in_doubt(domain)) {
        return -PIOMMU_EFAILED;
    }
    error = piommu_faults_quiesce_(domain->context);
    if (error != 0) {
        return error;
    }
    piommu_faults_purge_(domain->context, NULL, domain);
    piommu_trace_change_(domain, PIOMMU_EVENT_DOMAIN_DESTROY, 0, 0, 0);
    domain->destroying = true;
    return 0;
}

int piommu_domain_destroy_some(struct piommu_domain *domain, uint32_t budget)
{
    int error = 0;

    if (domain == NULL) {
        return 0;
    }
    if (!domain->destroying) {
        error = begin_destroying(domain);
    }
    if (error != 0) {
        return error;
    }
    budget = budget != 0 ? budget : 1;
    return free_parts(domain, &budget) ? 0 : -PIOMMU_EAGAIN;
}

int piommu_domain_destroy(struct piommu_domain *domain)
{
    int error;

    do {
        error = piommu_domain_destroy_some(domain, UINT32_MAX);
    } while (error == -PIOMMU_EAGAIN);
    return error;
}

void piommu_domain_get_info(const struct piommu_domain *domain, struct piommu_domain_info *info)
{
    const struct geometry *geometry = &domain->geometry;
    bool tables = domain_takes_tables(domain);

    *info = (struct piommu_domain_info){
        .type = domain->config.type, .name = domain->config.name, .owner = domain->config.owner};
    if (domain_is_paging(domain)) {
        info->aperture = geometry->aperture;
        info->granule = geometry->granule_mask + 1;
        info->leaf_sizes = geometry->leaf_sizes;
        info->prot = geometry->prot;
        info->write_only = geometry->write_only;
        info->live_protect = tables;
        info->live_cut = domain_has_table(domain) && domain->table_info.live_cut;
        info->populated =
            domain->config.type == PIOMMU_DOMAIN_DEFERRED && domain_is_populated(domain);
        info->disjoint = domain_is_disjoint(domain);
        info->told_each = !tables;
        info->failed = domain_failed(domain);
        info->msi_window = domain->config.msi_window;
        info->last_physical = geometry->last_output;
    }
}

void piommu_domain_get_statistics(const struct piommu_domain *domain,
                                  struct piommu_domain_statistics *statistics)
{
    *statistics = domain->statistics;
    if (domain_is_disjoint(domain)) {
        statistics->syncs = atomic_load_explicit(&domain->disjoint_syncs, memory_order_relaxed);
    }
    if (!domain_takes_tables(domain)) {
        unsigned long state = piommu_context_lock_(domain->context);

        statistics->maps += domain->posted.maps;
        statistics->syncs += domain->posted.syncs;
        statistics->mapped += domain->posted.mapped;
        piommu_context_unlock_(domain->context, state);
    }
}

/* Where calls may run beside each other nothing is counted but syncs. */
static ALWAYS_INLINE void count_map(struct piommu_domain *domain, uint64_t bytes)
{
    if (!domain_is_disjoint(domain) && bytes != 0) {
        domain->statistics.maps++;
        domain->statistics.mapped += bytes;
    }
}

static ALWAYS_INLINE void count_unmap(struct piommu_domain *domain, uint64_t bytes)
{
    if (!domain_is_disjoint(domain) && bytes != 0) {
        domain->statistics.unmaps++;
        domain->statistics.mapped -= bytes;
    }
}

void piommu_domain_count_map_(struct piommu_domain *domain, uint64_t iova, uint64_t bytes)
{
    struct piommu_range range = {.first = iova, .last = iova + (bytes - 1)};

    if (UNLIKELY(domain_splits(domain)) && piommu_deferred_unknown_(domain, range)) {
        bytes = piommu_deferred_below_(domain, &range) ? range_size(range) : 0;
    }
    count_map(domain, bytes);
}

void piommu_domain_count_unmap_(struct piommu_domain *domain, uint64_t bytes)
{
    count_unmap(domain, bytes);
}

void piommu_domain_count_sync_(struct piommu_domain *domain)
{
    if (domain_is_disjoint(domain)) {
        count_loosely(&domain->disjoint_syncs);
    } else {
        domain->statistics.syncs++;
    }
}

bool piommu_domain_any_mapped_(struct piommu_domain *domain, struct piommu_range range)
{
    struct piommu_translation translation;
    uint64_t iova;

    return range_tree_overlaps(&domain->mappings, range.first, range.last) ||
           (domain_has_table(domain) &&
            piommu_pgtable_next_leaf(domain->table, range.first, range.last, &iova, &translation) ==
                0);
}

/* Whether a unit that is asked before this one invalidates for both. */
static bool asked_before(const struct piommu_domain *domain, const struct binding *binding)
{
    for (const struct binding *other = domain->bindings; other != binding; other = other->next) {
        if (other->handle == binding->handle && instance_usable(other->instance)) {
            return true;
        }
    }
    return false;
}

/* Invalidates in one unit, which is usable. */
static ALWAYS_INLINE int invalidate_one(const struct binding *binding, struct piommu_range range,
                                        bool tables)
{
    struct piommu_instance *instance = binding->instance;
    int error;

    count_loosely(&instance->invalidations);
    error = instance->backend->invalidate(instance->unit, binding->handle, range, tables);
    return error != 0 ? piommu_instance_fail_(instance, error) : 0;
}

static int invalidate_all(struct piommu_domain *domain, struct piommu_range range, bool tables)
{
    int result = 0;

    for (const struct binding *binding = domain->bindings; binding != NULL;
         binding = binding->next) {
        struct piommu_instance *instance = binding->instance;
        int error;

        if (instance_failed(instance)) {
            result = binding_matters(binding) ? -PIOMMU_EFAILED : result;
            continue;
        }
        if (instance_suspended(instance) || asked_before(domain, binding)) {
            continue;
        }
        error = invalidate_one(binding, range, tables);
        /* The others go on: what was removed is removed for all. */
        result = error != 0 ? error : result;
    }
    return result;
}

static ALWAYS_INLINE int invalidate(struct piommu_domain *domain, struct piommu_range range,
                                    bool tables)
{
    const struct binding *binding = domain->bindings;

    /* Most domains are on one instance. */
    if (LIKELY(binding != NULL && binding->next == NULL && instance_usable(binding->instance))) {
        return invalidate_one(binding, range, tables);
    }
    return invalidate_all(domain, range, tables);
}

int piommu_domain_invalidate_(struct piommu_domain *domain, struct piommu_range range, bool tables)
{
    return invalidate(domain, range, tables);
}

/*
 * Tables whose invalidation has failed: whoever had them in a gather may drop it, so the domain
 * keeps them, until a sync of all instances that are left succeeds.
 */
static void park(struct piommu_domain *domain, struct piommu_gather *gather)
{
    unsigned long state = piommu_context_lock_(domain->context);

    piommu_pgtable_move_detached(domain->table, gather, &domain->parked);
    gather_add(&domain->parked, gather->range.first, gather->range.last);
    atomic_store_explicit(&domain->has_parked, 1, memory_order_relaxed);
    piommu_context_unlock_(domain->context, state);
}

static void unpark(struct piommu_domain *domain, struct piommu_gather *gather)
{
    unsigned long state = piommu_context_lock_(domain->context);

    if (domain->parked.pending) {
        gather_add(gather, domain->parked.range.first, domain->parked.range.last);
        piommu_pgtable_move_detached(domain->table, &domain->parked, gather);
        piommu_gather_init(&domain->parked);
    }
    atomic_store_explicit(&domain->has_parked, 0, memory_order_relaxed);
    piommu_context_unlock_(domain->context, state);
}

static ALWAYS_INLINE int tables_sync(struct piommu_domain *domain, struct piommu_gather *gather)
{
    int error;

    piommu_pgtable_detach_empty(domain->table, gather);
    if (UNLIKELY(atomic_load_explicit(&domain->has_parked, memory_order_relaxed) != 0)) {
        unpark(domain, gather);
    }
    error = invalidate(domain, gather->range, piommu_gather_has_tables(gather));
    if (UNLIKELY(error != 0)) {
        park(domain, gather);
        return error;
    }
    if (piommu_gather_has_tables(gather)) {
        piommu_pgtable_release(domain->table, gather);
    }
    gather->pending = false;
    return 0;
}

int piommu_tables_sync_(struct piommu_domain *domain, struct piommu_gather *gather)
{
    return tables_sync(domain, gather);
}

int piommu_tables_undo_map_(struct piommu_domain *domain, uint64_t iova, uint64_t size, int error)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    if (size == 0) {
        return error;
    }
    piommu_gather_init(&gather);
    return piommu_pgtable_unmap(domain->table, iova, size, &gather, &unmapped) == 0 &&
                   tables_sync(domain, &gather) != 0
               ? -PIOMMU_EFAILED
               : error;
}

/* What came of a map call: 0 or an error, and what was mapped even so. */
struct outcome {
    uint64_t mapped;
    int error;
};

/* Apart, so that its caller keeps nothing on the stack. */
static APART_IF_SHALLOW struct outcome map_in_table(struct piommu_domain *domain, uint64_t iova,
                                                    const struct piommu_segment *segments,
                                                    size_t count, piommu_prot prot)
{
    struct outcome outcome;

    /* One segment is what is mapped most, and has a shorter way. */
    outcome.error =
        count == 1 && !PIOMMU_WITH_SHALLOW_CALLS
            ? piommu_pgtable_map(domain->table, iova, segments->physical, segments->size, prot,
                                 &outcome.mapped)
            : piommu_pgtable_map_list(domain->table, iova, segments, count, prot, &outcome.mapped);
    return outcome;
}

int piommu_tables_map_(struct piommu_domain *domain, uint64_t iova,
                       const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    struct outcome outcome = map_in_table(domain, iova, segments, count, prot);

    return outcome.error == 0
               ? 0
               : piommu_tables_undo_map_(domain, iova, outcome.mapped, outcome.error);
}

int piommu_tables_unmap_unseen_(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                                int error)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    if (size == 0) {
        return error;
    }
    piommu_gather_init(&gather);
    (void)piommu_pgtable_unmap(domain->table, iova, size, &gather, &unmapped);
    piommu_pgtable_detach_empty(domain->table, &gather);
    piommu_pgtable_release(domain->table, &gather);
    return error;
}

int piommu_tables_map_unseen_(struct piommu_domain *domain, uint64_t iova,
                              const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    struct outcome outcome = map_in_table(domain, iova, segments, count, prot);

    return outcome.error == 0
               ? 0
               : piommu_tables_unmap_unseen_(domain, iova, outcome.mapped, outcome.error);
}

int piommu_domain_check_prot_(const struct piommu_domain *domain, piommu_prot prot)
{
    const struct geometry *geometry = &domain->geometry;
    const piommu_prot access = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE;

    if ((prot & ~PIOMMU_PROT_ALL) != 0 || (prot & access) == 0) {
        return -PIOMMU_EINVAL;
    }
    if ((prot & ~geometry->prot) != 0 ||
        ((prot & PIOMMU_PROT_READ) == 0 && !geometry->write_only)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    /* Flags that can be had one by one may not go together. */
    if (domain_takes_tables(domain) && !piommu_pgtable_expresses(&domain->table_info, prot)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

int piommu_domain_check_range_(const struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    const struct geometry *geometry = &domain->geometry;

    if (size == 0 || ((iova | size) & geometry->granule_mask) != 0) {
        return -PIOMMU_EINVAL;
    }
    if (iova < geometry->aperture.first || iova > geometry->aperture.last ||
        size - 1 > geometry->aperture.last - iova) {
        return -PIOMMU_ERANGE;
    }
    return 0;
}

/*
 * Checks all segments of a map call, before anything is changed; sets the last address of the
 * range.
 */
static int check_segments(const struct piommu_domain *domain, uint64_t iova,
                          const struct piommu_segment *segments, size_t count, uint64_t *last)
{
    const struct geometry *geometry = &domain->geometry;

    *last = iova - 1;
    for (size_t i = 0; i < count; i++) {
        uint64_t physical = segments[i].physical;
        uint64_t size = segments[i].size;
        uint64_t next = *last + 1;
        int error;

        /* The segment before has reached the top of the space. */
        if (i != 0 && next == 0) {
            return -PIOMMU_ERANGE;
        }
        error = piommu_domain_check_range_(domain, next, size);
        if (error != 0) {
            return error;
        }
        if ((physical & geometry->granule_mask) != 0) {
            return -PIOMMU_EINVAL;
        }
        if (physical > geometry->last_output || size - 1 > geometry->last_output - physical) {
            return -PIOMMU_ERANGE;
        }
        *last = next + (size - 1);
    }
    /* All 2^64 bytes have a size that cannot be said. */
    return *last - iova != UINT64_MAX ? 0 : -PIOMMU_ERANGE;
}

int piommu_domain_check_map_(const struct piommu_domain *domain, uint64_t iova,
                             const struct piommu_segment *segments, size_t count, piommu_prot prot,
                             uint64_t *last)
{
    int error = piommu_domain_check_prot_(domain, prot);

    if (error == 0) {
        error = check_segments(domain, iova, segments, count, last);
    }
    if (error != 0) {
        return error;
    }
    if (may_be_reserved(domain, iova, *last)) {
        struct piommu_range range = {.first = iova, .last = *last};

        if (piommu_reserved_overlaps_(domain, range)) {
            return -PIOMMU_ERESERVED;
        }
    }
    return domain_failed(domain) ? -PIOMMU_EFAILED : 0;
}

int piommu_domain_map_checked_(struct piommu_domain *domain, uint64_t iova,
                               const struct piommu_segment *segments, size_t count,
                               piommu_prot prot)
{
    if (UNLIKELY(domain_splits(domain))) {
        return piommu_deferred_map_(domain, iova, segments, count, prot);
    }
    return domain_has_table(domain) ? piommu_tables_map_(domain, iova, segments, count, prot)
                                    : piommu_requests_map_(domain, iova, segments, count, prot);
}

static NEVER_INLINE int map_list(struct piommu_domain *domain, uint64_t iova,
                                 const struct piommu_segment *segments, size_t count,
                                 piommu_prot prot)
{
    uint64_t last;
    int error;

    if (!enter_mapping(domain) || segments == NULL || count == 0) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_domain_check_map_(domain, iova, segments, count, prot, &last);
    if (error == 0) {
        error = piommu_domain_map_checked_(domain, iova, segments, count, prot);
    }
    if (error == 0) {
        piommu_domain_count_map_(domain, iova, last - iova + 1);
    }
    if (UNLIKELY(domain_is_traced(domain))) {
        piommu_trace_map_(domain, iova, segments, count, prot, error);
    }
    return error;
}

/* Whether the hardware can express a permission that asks for something. */
static ALWAYS_INLINE bool is_plain_prot(const struct piommu_domain *domain, piommu_prot prot)
{
    return (prot & ~domain->geometry.prot) == 0 && (prot & PIOMMU_PROT_READ) != 0;
}

static NEVER_INLINE int map_one(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                                uint64_t size, piommu_prot prot)
{
    struct piommu_segment segment = {.physical = physical, .size = size};

    return map_list(domain, iova, &segment, 1, prot);
}

/* As piommu_domain_map, the short way where there is one. */
int piommu_domain_map_list(struct piommu_domain *domain, uint64_t iova,
                           const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    uint64_t mapped;
    int error;

    if (UNLIKELY(domain == NULL || !domain_is_quick(domain) || segments == NULL || count == 0 ||
                 domain->reserved_regions != 0 || domain->window.first <= domain->window.last ||
                 !is_plain_prot(domain, prot) || domain_failed(domain))) {
        return map_list(domain, iova, segments, count, prot);
    }
    error = piommu_pgtable_map_list(domain->table, iova, segments, count, prot, &mapped);
    if (LIKELY(error == 0)) {
        count_map(domain, mapped);
        return 0;
    }
    if (mapped == 0) {
        return map_list(domain, iova, segments, count, prot);
    }
    return piommu_tables_undo_map_(domain, iova, mapped, error);
}

/*
 * What is called most has a short way: where the table checks for the domain there is nothing to
 * do here but to look whether the instance works. Whatever the table refuses goes the long way,
 * which refuses it again, and in the order that is documented. It saves 150 instructions of 280
 * (rows insn.core_map_1, core.map_1 of the benchmark).
 */
int piommu_domain_map(struct piommu_domain *domain, uint64_t iova, uint64_t physical, uint64_t size,
                      piommu_prot prot)
{
    uint64_t mapped;
    int error;

    if (UNLIKELY(domain == NULL || !domain_is_quick(domain) ||
                 may_be_reserved(domain, iova, iova + (size - 1)) || !is_plain_prot(domain, prot) ||
                 domain_failed(domain))) {
        return map_one(domain, iova, physical, size, prot);
    }
    error = piommu_pgtable_map(domain->table, iova, physical, size, prot, &mapped);
    if (LIKELY(error == 0)) {
        count_map(domain, size);
        return 0;
    }
    if (mapped == 0) {
        return map_one(domain, iova, physical, size, prot);
    }
    return piommu_tables_undo_map_(domain, iova, mapped, error);
}

int piommu_domain_unmap_checked_(struct piommu_domain *domain, struct piommu_range range,
                                 struct piommu_gather *gather, uint64_t *unmapped)
{
    uint64_t done;

    if (UNLIKELY(domain_splits(domain))) {
        return piommu_deferred_unmap_(domain, range, gather, unmapped);
    }
    return domain_has_table(domain)
               ? piommu_pgtable_unmap(domain->table, range.first, range_size(range), gather,
                                      unmapped)
               : piommu_requests_unmap_(domain, range, UINT32_MAX, gather, &done, unmapped);
}

static NEVER_INLINE int unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                              struct piommu_gather *gather, uint64_t *unmapped)
{
    struct piommu_range range = {.first = iova, .last = iova + (size - 1)};
    uint64_t removed = 0;
    int error = 0;

    if (!enter_mapping(domain) || gather == NULL) {
        return -PIOMMU_EINVAL;
    }
    /* Where the table makes the checks, what comes before it must not judge nonsense. */
    if (!domain_table_checks(domain) || may_be_reserved(domain, range.first, range.last)) {
        error = piommu_domain_check_range_(domain, iova, size);
    }
    if (error == 0 && may_be_reserved(domain, range.first, range.last) &&
        piommu_held_overlaps_(domain, range)) {
        error = -PIOMMU_ERESERVED;
    }
    if (error == 0) {
        error = piommu_domain_unmap_checked_(domain, range, gather, &removed);
    }
    if (error == 0) {
        piommu_domain_count_unmap_(domain, removed);
        if (unmapped != NULL) {
            *unmapped = removed;
        }
    }
    if (UNLIKELY(domain_is_traced(domain))) {
        piommu_trace_change_(domain, PIOMMU_EVENT_UNMAP, iova, size, error);
    }
    return error;
}

/* As piommu_domain_map, the short way where there is one. */
int piommu_domain_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                        struct piommu_gather *gather, uint64_t *unmapped)
{
    uint64_t removed;
    int error;

    if (UNLIKELY(domain == NULL || gather == NULL || !domain_is_quick(domain) ||
                 may_be_reserved(domain, iova, iova + (size - 1)))) {
        return unmap(domain, iova, size, gather, unmapped);
    }
    error = piommu_pgtable_unmap(domain->table, iova, size, gather, &removed);
    if (LIKELY(error == 0)) {
        count_unmap(domain, removed);
        if (unmapped != NULL) {
            *unmapped = removed;
        }
    }
    return error;
}

static ALWAYS_INLINE int sync_checked(struct piommu_domain *domain, struct piommu_gather *gather)
{
    int error = 0;

    /* A domain that is or was deferred may have both, and its records need no hardware. */
    if (gather->first_record != NULL) {
        error = piommu_requests_sync_(domain, gather);
    }
    if (error == 0 && domain_has_table(domain)) {
        error = piommu_tables_sync_(domain, gather);
    }
    return error;
}

int piommu_domain_sync_checked_(struct piommu_domain *domain, struct piommu_gather *gather)
{
    return sync_checked(domain, gather);
}

static NEVER_INLINE int sync(struct piommu_domain *domain, struct piommu_gather *gather)
{
    struct piommu_range range;
    int error;

    if (!enter_mapping(domain) || gather == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (!gather->pending) {
        return 0;
    }
    range = gather->range;
    error = sync_checked(domain, gather);
    if (error == 0) {
        piommu_domain_count_sync_(domain);
    }
    if (UNLIKELY(domain_is_traced(domain))) {
        piommu_trace_change_(domain, PIOMMU_EVENT_SYNC, range.first, range_size(range), error);
    }
    return error;
}

/* As piommu_domain_map, the short way where there is one. */
int piommu_domain_sync(struct piommu_domain *domain, struct piommu_gather *gather)
{
    int error;

    if (UNLIKELY(domain == NULL || gather == NULL || !domain_is_quick(domain) || !gather->pending ||
                 gather->first_record != NULL)) {
        return sync(domain, gather);
    }
    error = tables_sync(domain, gather);
    if (LIKELY(error == 0)) {
        piommu_domain_count_sync_(domain);
    }
    return error;
}

int piommu_domain_merge_gather(struct piommu_domain *domain, struct piommu_gather *from,
                               struct piommu_gather *into)
{
    if (!domain_is_paging(domain) || from == NULL || into == NULL || from == into) {
        return -PIOMMU_EINVAL;
    }
    if (!from->pending) {
        return 0;
    }
    if (from->first_record != NULL) {
        piommu_requests_merge_(from, into);
    }
    if (domain_has_table(domain)) {
        piommu_pgtable_move_detached(domain->table, from, into);
    }
    gather_add(into, from->range.first, from->range.last);
    piommu_gather_init(from);
    return 0;
}

int piommu_domain_invalidate(struct piommu_domain *domain, uint64_t first, uint64_t last)
{
    struct piommu_range range = {.first = first, .last = last};
    int error;

    if (domain == NULL || first > last || !domain_takes_tables(domain) ||
        (!domain_is_paging(domain) && domain->config.type != PIOMMU_DOMAIN_SHARED)) {
        return -PIOMMU_EINVAL;
    }
    piommu_host_barrier(domain->context->host, PIOMMU_BARRIER_WRITE);
    error = piommu_domain_invalidate_(domain, range, true);
    if (UNLIKELY(domain_is_traced(domain))) {
        piommu_trace_change_(domain, PIOMMU_EVENT_SYNC, first, range_size(range), error);
    }
    return error;
}

int piommu_domain_lookup(struct piommu_domain *domain, uint64_t iova,
                         struct piommu_translation *result)
{
    if (!enter_mapping(domain) || result == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (iova < domain->geometry.aperture.first || iova > domain->geometry.aperture.last) {
        return -PIOMMU_ERANGE;
    }
    if (UNLIKELY(domain_splits(domain))) {
        return piommu_deferred_lookup_(domain, iova, result);
    }
    return domain_has_table(domain) ? piommu_pgtable_lookup(domain->table, iova, result)
                                    : piommu_requests_lookup_(domain, iova, result);
}

int piommu_domain_next(struct piommu_domain *domain, uint64_t first, uint64_t last, uint64_t *found,
                       struct piommu_translation *result)
{
    if (!enter_mapping(domain) || found == NULL || result == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (domain_splits(domain)) {
        return piommu_deferred_next_(domain, first, last, found, result);
    }
    return domain_has_table(domain)
               ? piommu_pgtable_next_leaf(domain->table, first, last, found, result)
               : piommu_requests_next_(domain, first, last, found, result);
}
