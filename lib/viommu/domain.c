/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Domains of the guest, and what the core has for them. */

#include "engine.h"

static struct guest_domain *domain_of(struct range_node *node)
{
    return node != NULL ? RANGE_TREE_ENTRY(node, struct guest_domain, node) : NULL;
}

struct guest_domain *piommu_viommu_find_domain_(const struct piommu_viommu *viommu, uint32_t id)
{
    struct guest_domain *domain = domain_of(piommu_range_tree_from_(&viommu->domains, id));

    return domain != NULL && domain->node.first == id ? domain : NULL;
}

struct guest_domain *piommu_viommu_make_domain_(struct piommu_viommu *viommu, uint32_t id,
                                                bool bypass)
{
    struct guest_domain *domain;

    if (viommu->statistics.domains >= viommu->config.max_domains) {
        return NULL;
    }
    domain = piommu_viommu_alloc_(viommu, sizeof(*domain));
    if (domain == NULL) {
        return NULL;
    }
    domain->bypass = bypass;
    domain->node.first = id;
    domain->node.last = id;
    (void)piommu_range_tree_insert_(&viommu->domains, &domain->node);
    viommu->statistics.domains++;
    return domain;
}

void piommu_viommu_end_domain_(struct piommu_viommu *viommu, struct guest_domain *domain)
{
    piommu_range_tree_remove_(&viommu->domains, &domain->node);
    domain->next = viommu->ending;
    viommu->ending = domain;
}

/* The domain has nothing of the core any more. */
static void forget_core(struct piommu_viommu *viommu, struct guest_domain *domain)
{
    piommu_viommu_free_(viommu, domain->room, sizeof(*domain->room));
    domain->room = NULL;
    domain->core = NULL;
}

/* The instance behind which a device is, or NULL as long as there is none. */
static NEVER_INLINE struct piommu_instance *instance_of(const struct piommu_device *device)
{
    struct piommu_id_info id;

    return piommu_device_get_id(device, 0, &id) == 0 ? id.instance : NULL;
}

/* Whether what the guest was told of granules holds for a domain. */
static NEVER_INLINE bool fits(const struct piommu_viommu *viommu, const struct piommu_domain *core)
{
    struct piommu_domain_info info;

    piommu_domain_get_info(core, &info);
    return info.granule <= viommu->granule_mask + 1;
}

int piommu_viommu_make_core_(struct piommu_viommu *viommu, struct guest_domain *domain,
                             struct piommu_device *device)
{
    int error;

    viommu->core_instance = instance_of(device);
    if (viommu->core_instance == NULL) {
        return -PIOMMU_EWAITING;
    }
    domain->room = piommu_viommu_alloc_(viommu, sizeof(*domain->room));
    if (domain->room == NULL) {
        return -PIOMMU_ENOMEM;
    }
    error = piommu_domain_create(&viommu->core_config, &domain->core);
    if (error != 0) {
        forget_core(viommu, domain);
        return error;
    }
    if (!fits(viommu, domain->core)) {
        (void)piommu_domain_destroy(domain->core);
        forget_core(viommu, domain);
        return -PIOMMU_EMIXED;
    }
    return 0;
}

bool piommu_viommu_drop_core_(struct piommu_viommu *viommu, struct guest_domain *domain,
                              uint32_t *budget)
{
    int error;

    if (domain->core == NULL) {
        return true;
    }
    error = piommu_domain_destroy_some(domain->core, *budget);
    if (error == -PIOMMU_EAGAIN) {
        *budget = 0;
        return false;
    }
    spend(budget, 1);
    if (error == 0) {
        forget_core(viommu, domain);
        return true;
    }
    /* Hardware that could not be stopped may still use it. */
    piommu_host_log_(viommu->host, PIOMMU_LOG_ERROR, "viommu: %s: a domain cannot be destroyed yet",
                     text_value(viommu->config.name), 0, 0);
    *domain->room = (struct stuck){.core = domain->core, .next = viommu->stuck};
    viommu->stuck = domain->room;
    domain->room = NULL;
    domain->core = NULL;
    return true;
}

int piommu_viommu_drop_stuck_(struct piommu_viommu *viommu)
{
    while (viommu->stuck != NULL) {
        struct stuck *stuck = viommu->stuck;
        int error;

        do {
            error = piommu_domain_destroy_some(stuck->core, UINT32_MAX);
        } while (error == -PIOMMU_EAGAIN);
        if (error != 0) {
            return error;
        }
        viommu->stuck = stuck->next;
        piommu_viommu_free_(viommu, stuck, sizeof(*stuck));
    }
    return 0;
}

static bool free_mappings(struct piommu_viommu *viommu, struct guest_domain *domain,
                          uint32_t *budget)
{
    struct range_node *node = piommu_range_tree_from_(&domain->mappings, 0);

    while (node != NULL && *budget != 0) {
        struct range_node *next = piommu_range_tree_next_(node);
        struct mapping *mapping = RANGE_TREE_ENTRY(node, struct mapping, node);

        piommu_range_tree_remove_(&domain->mappings, node);
        piommu_viommu_free_(viommu, mapping, sizeof(*mapping));
        viommu->statistics.mappings--;
        spend(budget, 1);
        node = next;
    }
    return node == NULL;
}

bool piommu_viommu_clean_up_(struct piommu_viommu *viommu, uint32_t *budget)
{
    while (viommu->ending != NULL) {
        struct guest_domain *domain = viommu->ending;

        if (*budget == 0 || !piommu_viommu_drop_core_(viommu, domain, budget) ||
            !free_mappings(viommu, domain, budget)) {
            return false;
        }
        viommu->ending = domain->next;
        piommu_viommu_free_(viommu, domain, sizeof(*domain));
        viommu->statistics.domains--;
        spend(budget, 1);
    }
    return true;
}
