/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Where devices write their interrupts to: doorbells, mapped in a window of their domain. */

#include "core.h"

/* Whether a doorbell lies in an MSI window of the device, where it is not translated. */
static bool in_msi_region(const struct piommu_device *device, uint64_t doorbell)
{
    struct piommu_reserved_region region;

    for (size_t i = 0; piommu_device_reserved_region(device, i, &region) == 0; i++) {
        if (region.kind == PIOMMU_RESERVED_MSI && doorbell >= region.range.first &&
            doorbell <= region.range.last) {
            return true;
        }
    }
    return false;
}

/* Finds the first free place in the window, from `first` on. */
static bool find_place(const struct piommu_domain *domain, uint64_t first, uint64_t *place)
{
    const struct piommu_range *window = &domain->window;
    uint64_t mask = domain->geometry.granule_mask;
    struct piommu_range page = {.first = first, .last = first + mask};

    while (page.first >= window->first && page.last <= window->last && page.first < page.last) {
        if (!piommu_regions_forbid_(domain, page)) {
            *place = page.first;
            return true;
        }
        page.first += mask + 1;
        page.last += mask + 1;
    }
    return false;
}

/* Maps a doorbell's page. */
static int map_doorbell(struct piommu_domain *domain, uint64_t page, struct doorbell **result)
{
    const piommu_prot kind = PIOMMU_PROT_DEVICE & domain->geometry.prot;
    uint64_t size = domain->geometry.granule_mask + 1;
    struct piommu_segment segment = {.physical = page, .size = size};
    struct doorbell **end = &domain->doorbells;
    struct doorbell *doorbell;
    uint64_t iova = domain->window.first;
    int error;

    /*
     * Doorbells never go, so that the list is in the order of their places. The granule may have
     * been another one.
     */
    while (*end != NULL) {
        iova = ((*end)->iova + (*end)->size + (size - 1)) & ~(size - 1);
        end = &(*end)->next;
    }
    if (!find_place(domain, iova, &iova)) {
        return -PIOMMU_ENOSPC;
    }
    if (domain_failed(domain)) {
        return -PIOMMU_EFAILED;
    }
    if (page > domain->geometry.last_output - (size - 1)) {
        return -PIOMMU_ERANGE;
    }
    doorbell = piommu_host_alloc_(domain->context->host, sizeof(*doorbell));
    if (doorbell == NULL) {
        return -PIOMMU_ENOMEM;
    }
    doorbell->physical = page;
    doorbell->iova = iova;
    doorbell->size = size;
    error = piommu_domain_map_checked_(domain, iova, &segment, 1,
                                       kind | PIOMMU_PROT_WRITE |
                                           (domain->geometry.write_only ? 0 : PIOMMU_PROT_READ));
    if (error != 0) {
        piommu_host_free_(domain->context->host, doorbell, sizeof(*doorbell));
        return error;
    }
    *end = doorbell;
    *result = doorbell;
    return 0;
}

int piommu_device_map_msi(struct piommu_device *device, uint64_t doorbell, uint64_t *iova)
{
    struct piommu_domain *domain = device != NULL ? device->group->domain : NULL;
    struct doorbell *known;
    uint64_t offset;
    int error = 0;

    if (domain == NULL || iova == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (domain->config.type == PIOMMU_DOMAIN_IDENTITY ||
        (domain_is_paging(domain) && in_msi_region(device, doorbell))) {
        *iova = doorbell;
        return 0;
    }
    if (!domain_is_paging(domain)) {
        return -PIOMMU_EINVAL;
    }
    offset = doorbell & domain->geometry.granule_mask;
    known = domain->doorbells;
    while (known != NULL &&
           (doorbell < known->physical || doorbell - known->physical >= known->size)) {
        known = known->next;
    }
    if (known == NULL) {
        error = map_doorbell(domain, doorbell - offset, &known);
    }
    if (error == 0) {
        *iova = known->iova + (doorbell - known->physical);
    }
    return error;
}
