/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core.h"

#include "../base/gather.h"

static int create_paging(struct piommu_domain *domain)
{
    struct piommu_instance *instance = domain->instance;
    struct piommu_pgtable_config config;
    struct piommu_pgtable_info info;
    int error;

    if (instance->backend->kind != PIOMMU_BACKEND_TABLES) {
        return instance->backend->domain_create(instance->unit, PIOMMU_DOMAIN_PAGING, NULL,
                                                &domain->handle);
    }
    config = instance->info.table;
    config.owner = instance->config.owner;
    error = piommu_pgtable_create(instance->host, &config, &domain->table);
    if (error != 0) {
        return error;
    }
    piommu_pgtable_get_info(domain->table, &info);
    domain->live_cut = info.live_cut;
    domain->table_checks = info.granule == instance_granule(instance) &&
                           info.aperture.first == instance->info.aperture.first &&
                           info.aperture.last == instance->info.aperture.last;
    error = instance->backend->domain_create(instance->unit, PIOMMU_DOMAIN_PAGING, &info,
                                             &domain->handle);
    if (error != 0) {
        piommu_pgtable_destroy(domain->table);
        domain->table = NULL;
    }
    return error;
}

static int create_handle(struct piommu_domain *domain)
{
    struct piommu_instance *instance = domain->instance;

    switch (domain->config.type) {
    case PIOMMU_DOMAIN_BLOCKED:
        return 0;
    case PIOMMU_DOMAIN_IDENTITY:
        if (!instance->info.identity) {
            return -PIOMMU_EOPNOTSUPP;
        }
        return instance->backend->domain_create(instance->unit, PIOMMU_DOMAIN_IDENTITY, NULL,
                                                &domain->handle);
    case PIOMMU_DOMAIN_PAGING:
        return create_paging(domain);
    default:
        return -PIOMMU_EINVAL;
    }
}

int piommu_domain_create(const struct piommu_domain_config *config, struct piommu_domain **result)
{
    struct piommu_domain *domain;
    int error;

    if (config == NULL || config->instance == NULL || result == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (instance_failed(config->instance)) {
        return -PIOMMU_EFAILED;
    }
    domain = piommu_host_alloc(config->instance->host, sizeof(*domain));
    if (domain == NULL) {
        return -PIOMMU_ENOMEM;
    }
    domain->instance = config->instance;
    domain->config = *config;
    domain->aperture = config->instance->info.aperture;
    domain->granule_mask = instance_granule(config->instance) - 1;
    piommu_gather_init(&domain->parked);
    error = piommu_instance_judge_(config->instance, create_handle(domain));
    if (error != 0) {
        piommu_host_free(config->instance->host, domain, sizeof(*domain));
        return error;
    }
    LIST_APPEND(config->instance->domains, domain);
    *result = domain;
    return 0;
}

int piommu_domain_destroy(struct piommu_domain *domain)
{
    struct piommu_instance *instance;

    if (domain == NULL) {
        return 0;
    }
    instance = domain->instance;
    if (domain->groups != NULL) {
        return -PIOMMU_EBUSY;
    }
    if (instance_failed(instance) && !piommu_instance_stopped_(instance)) {
        return -PIOMMU_EFAILED;
    }
    if (domain->handle != NULL) {
        instance->backend->domain_destroy(instance->unit, domain->handle);
    }
    if (domain->table != NULL) {
        piommu_pgtable_release(domain->table, &domain->parked);
        piommu_pgtable_destroy(domain->table);
    }
    piommu_domain_free_mappings_(domain);
    LIST_REMOVE(instance->domains, domain);
    piommu_host_free(instance->host, domain, sizeof(*domain));
    return 0;
}

void piommu_domain_get_statistics(const struct piommu_domain *domain,
                                  struct piommu_domain_statistics *statistics)
{
    *statistics = domain->statistics;
}

bool piommu_domain_any_mapped_(struct piommu_domain *domain, struct piommu_range range)
{
    struct piommu_translation translation;
    uint64_t iova;

    if (domain->table == NULL) {
        return range_tree_overlaps(&domain->mappings, range.first, range.last);
    }
    return piommu_pgtable_next_leaf(domain->table, range.first, range.last, &iova, &translation) ==
           0;
}

int piommu_tables_sync_(struct piommu_domain *domain, struct piommu_gather *gather)
{
    struct piommu_instance *instance = domain->instance;
    int error;

    piommu_pgtable_detach_empty(domain->table, gather);
    error = instance->backend->invalidate(instance->unit, domain->handle, gather->range,
                                          piommu_gather_has_tables(gather));
    if (error != 0) {
        /* Hardware may still walk the detached tables: the domain keeps them until its end. */
        piommu_pgtable_move_detached(domain->table, gather, &domain->parked);
        return piommu_instance_fail_(instance, error);
    }
    if (piommu_gather_has_tables(gather)) {
        piommu_pgtable_release(domain->table, gather);
    }
    gather->pending = false;
    return 0;
}

/*
 * Removes what a failed map call has left in the tables, and waits until the hardware has forgotten
 * it.
 */
static int undo_map(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    if (size == 0) {
        return 0;
    }
    piommu_gather_init(&gather);
    (void)piommu_pgtable_unmap(domain->table, iova, size, &gather, &unmapped);
    return piommu_tables_sync_(domain, &gather);
}

static int tables_map(struct piommu_domain *domain, uint64_t iova,
                      const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    uint64_t mapped;
    /* One segment is what is mapped most, and has a shorter way. */
    int error = count == 1
                    ? piommu_pgtable_map(domain->table, iova, segments->physical, segments->size,
                                         prot, &mapped)
                    : piommu_pgtable_map_list(domain->table, iova, segments, count, prot, &mapped);

    if (error != 0 && undo_map(domain, iova, mapped) != 0) {
        return -PIOMMU_EFAILED;
    }
    return error;
}

static bool overlaps_reserved(const struct piommu_domain *domain, uint64_t first, uint64_t last)
{
    if (domain->reserved_regions == 0) {
        return false;
    }
    for (const struct piommu_group *group = domain->groups; group != NULL; group = group->next) {
        for (const struct endpoint *endpoint = group->endpoints; endpoint != NULL;
             endpoint = endpoint->next) {
            for (const struct reserved_node *node = endpoint->reserved.first; node != NULL;
                 node = node->next) {
                if (node->region.range.first <= last && first <= node->region.range.last) {
                    return true;
                }
            }
        }
    }
    return false;
}

int piommu_domain_check_prot_(const struct piommu_domain *domain, piommu_prot prot)
{
    const struct piommu_backend_info *info = &domain->instance->info;
    const piommu_prot access = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE;

    if ((prot & ~PIOMMU_PROT_ALL) != 0 || (prot & access) == 0) {
        return -PIOMMU_EINVAL;
    }
    if ((prot & ~info->prot) != 0 || ((prot & PIOMMU_PROT_READ) == 0 && !info->write_only)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

int piommu_domain_check_range_(const struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    if (size == 0 || ((iova | size) & domain->granule_mask) != 0) {
        return -PIOMMU_EINVAL;
    }
    if (iova < domain->aperture.first || iova > domain->aperture.last ||
        size - 1 > domain->aperture.last - iova) {
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
        if ((physical & domain->granule_mask) != 0) {
            return -PIOMMU_EINVAL;
        }
        if (size - 1 > UINT64_MAX - physical) {
            return -PIOMMU_ERANGE;
        }
        *last = next + (size - 1);
    }
    return 0;
}

int piommu_domain_map_list(struct piommu_domain *domain, uint64_t iova,
                           const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    uint64_t last;
    int error;

    if (!domain_is_paging(domain) || segments == NULL || count == 0) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_domain_check_prot_(domain, prot);
    if (error == 0) {
        error = check_segments(domain, iova, segments, count, &last);
    }
    if (error != 0) {
        return error;
    }
    if (overlaps_reserved(domain, iova, last)) {
        return -PIOMMU_ERESERVED;
    }
    if (instance_failed(domain->instance)) {
        return -PIOMMU_EFAILED;
    }
    error = domain_uses_tables(domain) ? tables_map(domain, iova, segments, count, prot)
                                       : piommu_requests_map_(domain, iova, segments, count, prot);
    if (error == 0) {
        domain->statistics.maps++;
        domain->statistics.mapped += last - iova + 1;
    }
    return error;
}

int piommu_domain_map(struct piommu_domain *domain, uint64_t iova, uint64_t physical, uint64_t size,
                      piommu_prot prot)
{
    struct piommu_segment segment = {.physical = physical, .size = size};

    return piommu_domain_map_list(domain, iova, &segment, 1, prot);
}

int piommu_domain_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                        struct piommu_gather *gather, uint64_t *unmapped)
{
    uint64_t removed = 0;
    int error = 0;

    if (!domain_is_paging(domain) || gather == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (!domain->table_checks) {
        error = piommu_domain_check_range_(domain, iova, size);
    }
    if (error == 0) {
        error = domain_uses_tables(domain)
                    ? piommu_pgtable_unmap(domain->table, iova, size, gather, &removed)
                    : piommu_requests_unmap_(domain, iova, iova + (size - 1), gather, &removed);
    }
    if (error == 0) {
        domain->statistics.unmaps++;
        domain->statistics.mapped -= removed;
        if (unmapped != NULL) {
            *unmapped = removed;
        }
    }
    return error;
}

int piommu_domain_sync(struct piommu_domain *domain, struct piommu_gather *gather)
{
    int error;

    if (!domain_is_paging(domain) || gather == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (!gather->pending) {
        return 0;
    }
    if (instance_failed(domain->instance)) {
        return -PIOMMU_EFAILED;
    }
    error = domain_uses_tables(domain) ? piommu_tables_sync_(domain, gather)
                                       : piommu_requests_sync_(domain, gather);
    if (error == 0) {
        domain->statistics.syncs++;
    }
    return error;
}

int piommu_domain_lookup(struct piommu_domain *domain, uint64_t iova,
                         struct piommu_translation *result)
{
    if (!domain_is_paging(domain) || result == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (iova < domain->aperture.first || iova > domain->aperture.last) {
        return -PIOMMU_ERANGE;
    }
    return domain_uses_tables(domain) ? piommu_pgtable_lookup(domain->table, iova, result)
                                      : piommu_requests_lookup_(domain, iova, result);
}
