/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * MAP and UNMAP. Source: VIRTIO 1.2, sections 5.13.6.5 "MAP request" and 5.13.6.6 "UNMAP request".
 */

#include "../base/gather.h"
#include "engine.h"

#define MAP_READ  1u
#define MAP_WRITE 2u
#define MAP_MMIO  4u

/* Of a piece of guest memory: more at a time is asked for as several. */
#define MOST_AT_ONCE (1ull << 62)
/* What a piece that is mapped at once counts for, besides the call for it. */
#define WORK_OF_PIECE 4u

static struct mapping *mapping_of(struct range_node *node)
{
    return RANGE_TREE_ENTRY(node, struct mapping, node);
}

/* ---- Into the core ---- */

/* What of a mapping's permissions and kind of memory its hardware can express. */
static NEVER_INLINE piommu_prot expressed(const struct piommu_domain *core, piommu_prot prot)
{
    struct piommu_domain_info info;

    piommu_domain_get_info(core, &info);
    /* Of the specification: a device may let reads through where writes are allowed. */
    if (!info.write_only) {
        prot |= PIOMMU_PROT_READ;
    }
    return prot & info.prot;
}

/* Whether the hypervisor has answered as it must. */
static bool is_sound(const struct piommu_viommu *viommu, const struct piommu_segment *piece,
                     uint64_t size)
{
    return piece->size != 0 && piece->size <= size &&
           ((piece->physical | piece->size) & viommu->granule_mask) == 0 &&
           piece->size - 1 <= UINT64_MAX - piece->physical;
}

/* Asks the hypervisor where guest memory is, from what is mapped of it on. */
static NEVER_INLINE enum status find_piece(struct piommu_viommu *viommu,
                                           const struct mapping *mapping, uint64_t done,
                                           struct piommu_segment *piece)
{
    const struct piommu_viommu_config *config = &viommu->config;
    uint64_t behind = mapping->node.last - mapping->node.first - done;
    uint64_t left = behind < MOST_AT_ONCE ? behind + 1 : MOST_AT_ONCE;

    if (config->callbacks.translate(config->cookie, mapping->guest + done, left, mapping->prot,
                                    piece) != 0) {
        return STATUS_FAULT;
    }
    return is_sound(viommu, piece, left) ? STATUS_OK : STATUS_DEVERR;
}

enum status piommu_viommu_map_portion_(struct piommu_viommu *viommu, struct piommu_domain *core,
                                       const struct mapping *mapping, uint32_t *budget)
{
    uint64_t *done = &viommu->request.done;

    while (core != NULL && *budget != 0) {
        struct piommu_segment piece;
        uint64_t mapped = 0;
        enum status status = find_piece(viommu, mapping, *done, &piece);
        int error;

        if (status != STATUS_OK) {
            return status;
        }
        error =
            piommu_domain_map_some(core, mapping->node.first + *done, piece.physical, piece.size,
                                   expressed(core, mapping->prot), *budget, &mapped);
        *done += mapped;
        if (error == -PIOMMU_EAGAIN) {
            *budget = 0;
        } else if (error != 0) {
            return piommu_viommu_status_of_(error);
        } else {
            spend(budget, WORK_OF_PIECE);
        }
        if (*done - 1 == mapping->node.last - mapping->node.first) {
            return STATUS_OK;
        }
    }
    return core != NULL ? STATUS_UNFINISHED : STATUS_OK;
}

/* ---- MAP ---- */

static bool meets_region(const struct piommu_viommu_endpoint *endpoint, uint64_t first,
                         uint64_t last)
{
    for (size_t i = 0; i < endpoint->region_count; i++) {
        const struct piommu_range *range = &endpoint->regions[i].range;

        if (first <= range->last && last >= range->first) {
            return true;
        }
    }
    return false;
}

static enum status check_map(const struct piommu_viommu *viommu, const struct guest_domain *domain,
                             const struct mapping *mapping, uint32_t flags)
{
    uint64_t first = mapping->node.first;
    uint64_t last = mapping->node.last;

    /* A flag that is not known decides, whatever else is wrong. */
    if ((flags & ~(MAP_READ | MAP_WRITE | MAP_MMIO)) != 0 ||
        ((flags & MAP_MMIO) != 0 && !has_agreed(viommu, PIOMMU_VIOMMU_F_MMIO))) {
        return STATUS_INVAL;
    }
    if (domain == NULL) {
        return STATUS_NOENT;
    }
    if (domain->bypass || (flags & (MAP_READ | MAP_WRITE)) == 0 || last <= first) {
        return STATUS_INVAL;
    }
    if (((first | (last + 1) | mapping->guest) & viommu->granule_mask) != 0 ||
        first < viommu->config.input.first || last > viommu->config.input.last ||
        last - first > UINT64_MAX - mapping->guest) {
        return STATUS_RANGE;
    }
    if (range_tree_overlaps(&domain->mappings, first, last)) {
        return STATUS_INVAL;
    }
    for (const struct piommu_viommu_endpoint *endpoint = domain->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        if (meets_region(endpoint, first, last)) {
            return STATUS_INVAL;
        }
    }
    return viommu->statistics.mappings < viommu->config.max_mappings ? STATUS_OK : STATUS_NOMEM;
}

static piommu_prot prot_of(uint32_t flags)
{
    return ((flags & MAP_READ) != 0 ? PIOMMU_PROT_READ : 0) |
           ((flags & MAP_WRITE) != 0 ? PIOMMU_PROT_WRITE : 0) |
           ((flags & MAP_MMIO) != 0 ? PIOMMU_PROT_DEVICE : 0);
}

uint32_t piommu_viommu_map_flags_(piommu_prot prot)
{
    return ((prot & PIOMMU_PROT_READ) != 0 ? MAP_READ : 0) |
           ((prot & PIOMMU_PROT_WRITE) != 0 ? MAP_WRITE : 0) |
           ((prot & PIOMMU_PROT_DEVICE) != 0 ? MAP_MMIO : 0);
}

enum status piommu_viommu_begin_map_(struct piommu_viommu *viommu, const uint8_t *bytes)
{
    struct request *request = &viommu->request;
    const uint32_t flags = piommu_get_le32(bytes + 32);
    const struct mapping asked = {
        .node = {.first = piommu_get_le64(bytes + 8), .last = piommu_get_le64(bytes + 16)},
        .guest = piommu_get_le64(bytes + 24),
        .prot = prot_of(flags)};
    enum status status;

    request->domain = piommu_viommu_find_domain_(viommu, piommu_get_le32(bytes + 4));
    status = check_map(viommu, request->domain, &asked, flags);
    if (status != STATUS_OK) {
        return status;
    }
    request->mapping = piommu_viommu_alloc_(viommu, sizeof(*request->mapping));
    if (request->mapping == NULL) {
        return STATUS_NOMEM;
    }
    *request->mapping = asked;
    request->stage = STAGE_MAP;
    return STATUS_UNFINISHED;
}

/* All hardware knows of it. */
static APART_IF_SHALLOW void enter_mapping(struct piommu_viommu *viommu)
{
    const struct piommu_viommu_config *config = &viommu->config;
    struct guest_domain *domain = viommu->request.domain;
    struct mapping *mapping = viommu->request.mapping;
    const struct piommu_range range = {.first = mapping->node.first, .last = mapping->node.last};

    (void)piommu_range_tree_insert_(&domain->mappings, &mapping->node);
    viommu->statistics.mappings++;
    for (const struct piommu_viommu_endpoint *endpoint = domain->endpoints;
         endpoint != NULL && config->callbacks.mapped != NULL; endpoint = endpoint->next) {
        if (endpoint->device == NULL) {
            config->callbacks.mapped(config->cookie, endpoint->cookie, range, mapping->guest,
                                     mapping->prot);
        }
    }
}

enum status piommu_viommu_map_(struct piommu_viommu *viommu, uint32_t *budget)
{
    struct request *request = &viommu->request;
    enum status status =
        piommu_viommu_map_portion_(viommu, request->domain->core, request->mapping, budget);

    if (status == STATUS_OK) {
        enter_mapping(viommu);
        request->mapping = NULL;
    } else if (status != STATUS_UNFINISHED) {
        request->status = status;
        request->stage = STAGE_UNDO;
        status = STATUS_UNFINISHED;
    }
    return status;
}

/*
 * Unmaps a portion of what the core has of a range; *done counts from its beginning. Nothing there
 * is fine.
 */
static enum status unmap_portion(struct piommu_viommu *viommu, struct guest_domain *domain,
                                 struct piommu_range range, uint64_t *done, uint32_t *budget)
{
    uint64_t size = range.last - range.first - *done;
    uint64_t portion = 0;
    int error;

    if (domain->core == NULL) {
        return STATUS_OK;
    }
    size = size < MOST_AT_ONCE ? size + 1 : MOST_AT_ONCE;
    error = piommu_domain_unmap_some(domain->core, range.first + *done, size, *budget,
                                     &viommu->request.gather, &portion, NULL);
    if (error == -PIOMMU_EAGAIN) {
        *done += portion;
        *budget = 0;
        return STATUS_UNFINISHED;
    }
    if (error != 0 && error != -PIOMMU_ENOENT) {
        return STATUS_DEVERR;
    }
    *done += size;
    spend(budget, WORK_OF_PIECE);
    return *done - 1 == range.last - range.first ? STATUS_OK : STATUS_UNFINISHED;
}

/* Waits until hardware has forgotten what was unmapped. */
static enum status forget(struct piommu_viommu *viommu)
{
    struct request *request = &viommu->request;

    return !request->gather.pending ||
                   piommu_domain_sync(request->domain->core, &request->gather) == 0
               ? STATUS_OK
               : STATUS_DEVERR;
}

enum status piommu_viommu_undo_(struct piommu_viommu *viommu, uint32_t *budget)
{
    struct request *request = &viommu->request;
    struct mapping *mapping = request->mapping;
    enum status status = STATUS_OK;

    if (request->done != 0) {
        /* From its beginning again; `range` is what hardware may know. */
        request->range.first = mapping->node.first;
        request->range.last = mapping->node.first + (request->done - 1);
        status = unmap_portion(viommu, request->domain, request->range, &request->undone, budget);
        if (status == STATUS_UNFINISHED) {
            return status;
        }
        status = status == STATUS_OK ? forget(viommu) : status;
    }
    piommu_viommu_free_(viommu, mapping, sizeof(*mapping));
    request->mapping = NULL;
    return status == STATUS_OK ? request->status : status;
}

/* ---- UNMAP ---- */

/* Whether a mapping lies across an address and the one before it. */
static bool is_cut_at(const struct guest_domain *domain, uint64_t address)
{
    const struct range_node *node = piommu_range_tree_from_(&domain->mappings, address);

    return node != NULL && node->first < address;
}

enum status piommu_viommu_begin_unmap_(struct piommu_viommu *viommu, const uint8_t *bytes)
{
    const struct piommu_viommu_config *config = &viommu->config;
    struct request *request = &viommu->request;
    const struct piommu_range range = {.first = piommu_get_le64(bytes + 8),
                                       .last = piommu_get_le64(bytes + 16)};
    struct guest_domain *domain = piommu_viommu_find_domain_(viommu, piommu_get_le32(bytes + 4));

    if (domain == NULL) {
        return STATUS_NOENT;
    }
    if (domain->bypass || range.last < range.first) {
        return STATUS_INVAL;
    }
    if (is_cut_at(domain, range.first) ||
        (range.last != UINT64_MAX && is_cut_at(domain, range.last + 1))) {
        return STATUS_RANGE;
    }
    request->domain = domain;
    request->range = range;
    request->stage = STAGE_UNMAP;
    for (const struct piommu_viommu_endpoint *endpoint = domain->endpoints;
         endpoint != NULL && config->callbacks.unmapped != NULL; endpoint = endpoint->next) {
        if (endpoint->device == NULL) {
            config->callbacks.unmapped(config->cookie, endpoint->cookie, range);
        }
    }
    return STATUS_UNFINISHED;
}

enum status piommu_viommu_unmap_(struct piommu_viommu *viommu, uint32_t *budget)
{
    struct request *request = &viommu->request;
    struct range_tree *mappings = &request->domain->mappings;
    struct range_node *node = piommu_range_tree_from_(mappings, request->range.first);

    while (node != NULL && node->first <= request->range.last && *budget != 0) {
        const struct piommu_range range = {.first = node->first, .last = node->last};
        struct mapping *mapping = mapping_of(node);
        enum status status = unmap_portion(viommu, request->domain, range, &request->done, budget);

        if (status == STATUS_UNFINISHED) {
            return status;
        }
        request->status = status == STATUS_OK ? request->status : status;
        request->done = 0;
        node = piommu_range_tree_next_(node);
        piommu_range_tree_remove_(mappings, &mapping->node);
        piommu_viommu_free_(viommu, mapping, sizeof(*mapping));
        viommu->statistics.mappings--;
        spend(budget, 1);
    }
    if (node != NULL && node->first <= request->range.last) {
        return STATUS_UNFINISHED;
    }
    return forget(viommu) == STATUS_OK ? request->status : STATUS_DEVERR;
}
