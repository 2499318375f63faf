/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Domains on instances. A domain exists on those for which it was created, as long as it lives, and
 * on others as long as groups of theirs are in it. What can be mapped is what all of them can do.
 */

#include "core.h"

struct binding *piommu_binding_find_(const struct piommu_domain *domain,
                                     const struct piommu_instance *instance)
{
    struct binding *binding = domain->bindings;

    while (binding != NULL && binding->instance != instance) {
        binding = binding->next;
    }
    return binding;
}

/* Narrows what can be mapped to what a unit can do. */
static void narrow(struct geometry *geometry, const struct piommu_backend_info *info)
{
    uint64_t granule_mask = lowest_bit(info->leaf_sizes) - 1;
    uint64_t last_output = last_of_width(info->output_bits);

    if (info->aperture.first > geometry->aperture.first) {
        geometry->aperture.first = info->aperture.first;
    }
    if (info->aperture.last < geometry->aperture.last) {
        geometry->aperture.last = info->aperture.last;
    }
    if (granule_mask > geometry->granule_mask) {
        geometry->granule_mask = granule_mask;
    }
    geometry->leaf_sizes &= info->leaf_sizes;
    geometry->leaf_sizes |= geometry->granule_mask + 1;
    geometry->leaf_sizes &= ~geometry->granule_mask;
    if (last_output < geometry->last_output) {
        geometry->last_output = last_output;
    }
    geometry->prot &= info->prot;
    geometry->write_only = geometry->write_only && info->write_only;
}

/* Notes what the domain can do now, and whether its table makes the checks for it. */
static void set_geometry(struct piommu_domain *domain, const struct geometry *geometry)
{
    const struct piommu_pgtable_info *table = &domain->table_info;

    domain->geometry = *geometry;
    domain->table_checks = domain_has_table(domain) && !domain_splits(domain) &&
                           table->granule == geometry->granule_mask + 1 &&
                           table->aperture.first == geometry->aperture.first &&
                           table->aperture.last == geometry->aperture.last &&
                           last_of_width(table->output_bits) == geometry->last_output;
    domain->quick = domain->table_checks && !domain_is_traced(domain);
}

/* Tells whether a mapping would still be allowed in another geometry. */
static int check_mapping(const struct geometry *to, const struct piommu_frames *mapping)
{
    uint64_t last = mapping->iova + (mapping->size - 1);

    if (mapping->iova < to->aperture.first || last > to->aperture.last ||
        ((mapping->iova | mapping->physical | mapping->size) & to->granule_mask) != 0 ||
        mapping->physical + (mapping->size - 1) > to->last_output) {
        return -PIOMMU_ERANGE;
    }
    if ((mapping->prot & ~to->prot) != 0 ||
        (!to->write_only && (mapping->prot & PIOMMU_PROT_READ) == 0)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

/*
 * Finds what is mapped from an address on. What is unmapped and waits for its sync counts where the
 * hardware is told of it.
 */
static bool next_mapping(struct piommu_domain *domain, uint64_t at, struct piommu_frames *mapping)
{
    struct piommu_translation next;

    if (!domain_has_table(domain)) {
        return piommu_requests_record_(domain, at, mapping);
    }
    if (piommu_domain_next(domain, at, domain->geometry.aperture.last, &mapping->iova, &next) !=
        0) {
        return false;
    }
    mapping->physical = next.physical;
    mapping->size = next.leaf_size;
    mapping->prot = next.prot;
    return true;
}

/* Tells whether all that is mapped would still be allowed in another geometry. */
static int check_mappings(struct piommu_domain *domain, const struct geometry *to)
{
    const struct geometry *from = &domain->geometry;
    uint64_t at = from->aperture.first;
    struct piommu_frames mapping;
    int error = 0;

    if (from->aperture.first == to->aperture.first && from->aperture.last == to->aperture.last &&
        from->granule_mask == to->granule_mask && from->last_output == to->last_output &&
        from->prot == to->prot && from->write_only == to->write_only) {
        return 0;
    }
    while (error == 0 && next_mapping(domain, at, &mapping)) {
        uint64_t last = mapping.iova + (mapping.size - 1);

        error = check_mapping(to, &mapping);
        if (last >= from->aperture.last) {
            break;
        }
        at = last + 1;
    }
    return error;
}

/* Whether a unit can walk the tables that the domain has, or is to have. */
static bool walks(const struct piommu_instance *instance, const struct piommu_domain *domain)
{
    const uint32_t ours = PIOMMU_PGTABLE_DISJOINT;
    const struct piommu_pgtable_config *can = &instance->info.table;
    const struct piommu_pgtable_config *table = &domain->table_config;

    return can->format == table->format && can->granule == table->granule &&
           can->input_bits >= table->input_bits && can->output_bits >= table->output_bits &&
           (can->coherent_walk || !table->coherent_walk) &&
           ((can->flags ^ table->flags) & ~(TABLE_FEATURES | ours)) == 0 &&
           can->root_alignment <= table->root_alignment && root_width(can) >= root_width(table) &&
           (table->flags & TABLE_FEATURES & ~can->flags) == 0 &&
           (can->leaf_sizes == 0 ||
            (table->leaf_sizes != 0 && (table->leaf_sizes & ~can->leaf_sizes) == 0));
}

/* Whether the domain can be on an instance; sets what it can do then. */
static int check(struct piommu_domain *domain, struct piommu_instance *instance,
                 struct geometry *geometry)
{
    if (instance->backend->kind != domain->kind) {
        return -PIOMMU_EMIXED;
    }
    if (domain->config.type == PIOMMU_DOMAIN_IDENTITY) {
        return instance->info.identity ? 0 : -PIOMMU_EMIXED;
    }
    if (domain_is_shared(domain)) {
        return piommu_check_shared_(instance, &domain->table_info) == 0 ? 0 : -PIOMMU_EMIXED;
    }
    *geometry = domain->geometry;
    narrow(geometry, &instance->info);
    if (geometry->aperture.first > geometry->aperture.last ||
        (domain_takes_tables(domain) && !walks(instance, domain))) {
        return -PIOMMU_EMIXED;
    }
    return check_mappings(domain, geometry);
}

int piommu_binding_make_(struct piommu_domain *domain, struct piommu_instance *instance,
                         bool permanent)
{
    struct piommu_backend_domain request = {.identity = domain};
    struct geometry geometry = domain->geometry;
    struct binding *binding;
    int error = permanent ? 0 : check(domain, instance, &geometry);

    if (error != 0) {
        return error;
    }
    if (instance_failed(instance)) {
        return -PIOMMU_EFAILED;
    }
    binding = piommu_host_alloc_(instance->host, sizeof(*binding));
    if (binding == NULL) {
        return -PIOMMU_ENOMEM;
    }
    request.type = domain_is_paging(domain) ? PIOMMU_DOMAIN_PAGING : domain->config.type;
    if (domain_has_table(domain) || domain_is_shared(domain)) {
        request.table = &domain->table_info;
    }
    error = piommu_instance_judge_(
        instance, instance->backend->domain_create(instance->unit, &request, &binding->handle));
    if (error != 0) {
        piommu_host_free_(instance->host, binding, sizeof(*binding));
        return error;
    }
    binding->domain = domain;
    binding->instance = instance;
    binding->permanent = permanent;
    binding->peer = instance->bindings;
    instance->bindings = binding;
    instance->users++;
    CHAIN_APPEND(domain->bindings, binding);
    set_geometry(domain, &geometry);
    return 0;
}

int piommu_bindings_make_permanent_(struct piommu_domain *domain)
{
    int error = 0;

    for (size_t i = 0; i < domain->config.instance_count && error == 0; i++) {
        if (piommu_binding_find_(domain, domain->instances[i]) == NULL) {
            error = piommu_binding_make_(domain, domain->instances[i], true);
        }
    }
    return error;
}

/* Takes back what counts as being in a binding though no group does; its unit is stopped. */
static void forget_doubtful(const struct binding *binding)
{
    const struct range_node *node = piommu_range_tree_from_(&binding->instance->endpoints, 0);

    while (node != NULL) {
        struct endpoint *endpoint = RANGE_TREE_ENTRY(node, struct endpoint, node);

        if (endpoint->binding == binding) {
            (void)piommu_endpoint_block_(endpoint);
        }
        node = piommu_range_tree_next_(node);
    }
}

static void drop(struct binding *binding)
{
    struct piommu_instance *instance = binding->instance;
    int error = instance->backend->domain_destroy(instance->unit, binding->handle);

    if (error != 0) {
        binding->domain->tables_lost = true;
        (void)piommu_instance_fail_(instance, error);
    }
    CHAIN_REMOVE(binding->domain->bindings, binding);
    LIST_REMOVE(instance->bindings, binding);
    instance->users--;
    piommu_host_free_(instance->host, binding, sizeof(*binding));
}

/* Whether hardware cannot be using a binding any more. */
static bool unused(const struct binding *binding)
{
    return binding->endpoints == 0 &&
           (!instance_failed(binding->instance) || instance_stopped(binding->instance));
}

void piommu_bindings_drop_unused_(struct piommu_domain *domain)
{
    struct geometry geometry = domain->base;
    struct binding *binding = domain->bindings;

    while (binding != NULL) {
        struct binding *next = binding->next;

        if (!binding->permanent && unused(binding)) {
            drop(binding);
        } else {
            narrow(&geometry, &binding->instance->info);
        }
        binding = next;
    }
    set_geometry(domain, &geometry);
}

void piommu_bindings_drop_all_(struct piommu_domain *domain)
{
    while (domain->bindings != NULL) {
        forget_doubtful(domain->bindings);
        drop(domain->bindings);
    }
    if (domain->tables_lost && domain_has_table(domain)) {
        piommu_host_log_(domain->context->host, PIOMMU_LOG_ERROR,
                         "domain %s: hardware may still read its tables; they are never used again",
                         text_value(domain->config.name), 0, 0);
        domain->table = NULL;
    }
}
