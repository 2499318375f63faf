/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The device half of the model: domains, endpoints, requests, DMA. See virtio_iommu_model.h. */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ATTACH_FLAG_BYPASS = 1,

    MAP_FLAG_READ = 1,
    MAP_FLAG_WRITE = 2,
    MAP_FLAG_MMIO = 4,

    EVENT_REASON_UNKNOWN = 0,
    EVENT_REASON_DOMAIN = 1,
    EVENT_REASON_MAPPING = 2,
    EVENT_FLAG_READ = 1,
    EVENT_FLAG_WRITE = 2,
    EVENT_FLAG_ADDRESS = 256,

    REGION_MSI = 1,
    PROPERTY_RESV_MEM = 1,
    PROPERTY_SIZE = 24,
    PROPERTY_LENGTH = 20,

    TAIL_SIZE = 4,

    MAX_PIECES = 1024, /* of one DMA that is reported in pieces */
};

/* ---- bytes ----------------------------------------------------------------------------------- */

uint16_t viommu_model_get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | (unsigned int)bytes[1] << 8);
}

uint32_t viommu_model_get32(const uint8_t *bytes)
{
    return viommu_model_get16(bytes) | (uint32_t)viommu_model_get16(bytes + 2) << 16;
}

uint64_t viommu_model_get64(const uint8_t *bytes)
{
    return viommu_model_get32(bytes) | (uint64_t)viommu_model_get32(bytes + 4) << 32;
}

void viommu_model_put16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value & 0xff);
    bytes[1] = (uint8_t)(value >> 8);
}

void viommu_model_put32(uint8_t *bytes, uint32_t value)
{
    viommu_model_put16(bytes, (uint16_t)(value & 0xffff));
    viommu_model_put16(bytes + 2, (uint16_t)(value >> 16));
}

void viommu_model_put64(uint8_t *bytes, uint64_t value)
{
    viommu_model_put32(bytes, (uint32_t)(value & 0xffffffff));
    viommu_model_put32(bytes + 4, (uint32_t)(value >> 32));
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* ---- making and destroying ------------------------------------------------------------------- */

void viommu_model_default_parameters(struct viommu_model_parameters *parameters)
{
    *parameters = (struct viommu_model_parameters){
        .mmio_address = 0x0a003e00,
        .bdf = 0x0008,
        .offered_features = VIOMMU_MODEL_F_INPUT_RANGE | VIOMMU_MODEL_F_DOMAIN_RANGE |
                            VIOMMU_MODEL_F_MAP_UNMAP | VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_MMIO |
                            VIOMMU_MODEL_F_BYPASS_CONFIG | VIOMMU_MODEL_F_VERSION_1,
        .demanded_features = VIOMMU_MODEL_F_VERSION_1,
        .page_size_mask = UINT64_C(0xfffffffffffff000),
        .input_start = 0,
        .input_end = UINT64_MAX,
        .domain_start = 0,
        .domain_end = UINT32_MAX,
        .probe_size = 512,
        .initial_bypass = 1,
        .config_length = 40,
        .queue_size = {256, 256},
        .bar_address = UINT64_C(0x8000000000),
    };
}

struct viommu_model *viommu_model_create(const struct viommu_model_parameters *parameters,
                                         struct viommu_model_memory memory)
{
    struct viommu_model *model = calloc(1, sizeof *model);

    if (model == NULL) {
        return NULL;
    }
    model->parameters = *parameters;
    model->memory = memory;
    model->bypass = parameters->initial_bypass;
    model->random = 1;
    model->batch = 1;
    viommu_model_transport_init(model);
    return model;
}

void viommu_model_destroy(struct viommu_model *model)
{
    if (model == NULL) {
        return;
    }
    viommu_model_transport_destroy(model);
    viommu_model_device_reset(model);
    for (size_t i = 0; i < model->endpoint_count; i++) {
        free(model->endpoints[i].regions);
        free(model->endpoints[i].probe_bytes);
        free(model->endpoints[i].cache);
    }
    free(model->endpoints);
    free(model->domains);
    free(model);
}

void viommu_model_system_reset(struct viommu_model *model)
{
    viommu_model_device_reset(model);
    viommu_model_transport_reset(model);
    viommu_model_transport_init(model);
    model->bypass = model->parameters.initial_bypass;
    model->bypass_was_written = false;
}

uint16_t viommu_model_bdf(const struct viommu_model *model)
{
    return model->parameters.bdf;
}

void viommu_model_violate(struct viommu_model *model, const char *format, ...)
{
    if (model->violation_count < MODEL_KEPT_VIOLATIONS) {
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(model->violations[model->violation_count], sizeof model->violations[0],
                        format, arguments);
        va_end(arguments);
    }
    model->violation_count++;
}

/* ---- domains and endpoints ------------------------------------------------------------------- */

static struct model_domain *find_domain(const struct viommu_model *model, uint32_t id)
{
    for (size_t i = 0; i < model->domain_count; i++) {
        if (model->domains[i]->id == id) {
            return model->domains[i];
        }
    }
    return NULL;
}

static struct model_endpoint *find_endpoint(const struct viommu_model *model, uint32_t id)
{
    for (size_t i = 0; i < model->endpoint_count; i++) {
        if (model->endpoints[i].id == id) {
            return &model->endpoints[i];
        }
    }
    return NULL;
}

static struct model_domain *create_domain(struct viommu_model *model, uint32_t id, bool bypass)
{
    struct model_domain *domain = calloc(1, sizeof *domain);
    struct model_domain **domains =
        realloc(model->domains, (model->domain_count + 1) * sizeof(struct model_domain *));

    if (domains != NULL) {
        model->domains = domains;
    }
    if (domain == NULL || domains == NULL) {
        free(domain);
        return NULL;
    }
    domain->id = id;
    domain->bypass = bypass;
    model->domains[model->domain_count++] = domain;
    return domain;
}

static void leave_domain(struct viommu_model *model, struct model_endpoint *endpoint)
{
    struct model_domain *domain = endpoint->domain;

    endpoint->domain = NULL;
    if (domain == NULL || --domain->endpoints > 0) {
        return;
    }
    /* The last endpoint takes the domain and its mappings along. */
    for (size_t i = 0; i < model->domain_count; i++) {
        if (model->domains[i] == domain) {
            model->domains[i] = model->domains[--model->domain_count];
            break;
        }
    }
    free(domain->mappings);
    free(domain);
}

bool viommu_model_add_endpoint(struct viommu_model *model, uint32_t endpoint,
                               const struct viommu_model_region *regions, size_t count)
{
    struct model_endpoint *endpoints;
    struct viommu_model_region *copy = NULL;

    if (find_endpoint(model, endpoint) != NULL) {
        return false;
    }
    endpoints = realloc(model->endpoints, (model->endpoint_count + 1) * sizeof *endpoints);
    if (endpoints == NULL) {
        return false;
    }
    model->endpoints = endpoints;
    if (count > 0) {
        copy = malloc(count * sizeof *copy);
        if (copy == NULL) {
            return false;
        }
        memcpy(copy, regions, count * sizeof *copy);
    }
    endpoints[model->endpoint_count++] =
        (struct model_endpoint){.id = endpoint, .regions = copy, .region_count = count};
    return true;
}

void viommu_model_remove_endpoint(struct viommu_model *model, uint32_t id)
{
    struct model_endpoint *endpoint = find_endpoint(model, id);

    if (endpoint == NULL) {
        return;
    }
    leave_domain(model, endpoint);
    free(endpoint->regions);
    free(endpoint->probe_bytes);
    free(endpoint->cache);
    *endpoint = model->endpoints[--model->endpoint_count];
}

bool viommu_model_set_probe_bytes(struct viommu_model *model, uint32_t id, const void *bytes,
                                  size_t size)
{
    struct model_endpoint *endpoint = find_endpoint(model, id);
    uint8_t *copy = NULL;

    if (endpoint == NULL) {
        return false;
    }
    if (bytes != NULL) {
        copy = malloc(size > 0 ? size : 1);
        if (copy == NULL) {
            return false;
        }
        if (size > 0) {
            memcpy(copy, bytes, size);
        }
    }
    free(endpoint->probe_bytes);
    endpoint->probe_bytes = copy;
    endpoint->probe_size = size;
    return true;
}

void viommu_model_device_reset(struct viommu_model *model)
{
    for (size_t i = 0; i < model->endpoint_count; i++) {
        leave_domain(model, &model->endpoints[i]);
        model->endpoints[i].cache_count = 0;
    }
}

/* ---- mappings -------------------------------------------------------------------------------- */

/* The index of the first mapping that ends at or behind an address. */
static size_t search_mapping(const struct model_domain *domain, uint64_t address)
{
    size_t low = 0;
    size_t high = domain->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (domain->mappings[middle].last < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool overlaps_mapping(const struct model_domain *domain, uint64_t first, uint64_t last)
{
    size_t index = search_mapping(domain, first);

    return index < domain->count && domain->mappings[index].first <= last;
}

static bool insert_mapping(struct model_domain *domain, const struct viommu_model_mapping *mapping)
{
    size_t index = search_mapping(domain, mapping->first);

    if (domain->count == domain->capacity) {
        size_t capacity = domain->capacity > 0 ? 2 * domain->capacity : 8;
        struct viommu_model_mapping *mappings =
            realloc(domain->mappings, capacity * sizeof(struct viommu_model_mapping));

        if (mappings == NULL) {
            return false;
        }
        domain->mappings = mappings;
        domain->capacity = capacity;
    }
    memmove(&domain->mappings[index + 1], &domain->mappings[index],
            (domain->count - index) * sizeof *mapping);
    domain->mappings[index] = *mapping;
    domain->count++;
    return true;
}

static void remove_mappings(struct model_domain *domain, size_t index, size_t count)
{
    if (count == 0) {
        return;
    }
    memmove(&domain->mappings[index], &domain->mappings[index + count],
            (domain->count - index - count) * sizeof domain->mappings[0]);
    domain->count -= count;
}

static bool overlaps_region(const struct model_endpoint *endpoint, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < endpoint->region_count; i++) {
        const struct viommu_model_region *region = &endpoint->regions[i];

        if (region->start <= last && region->end >= first) {
            return true;
        }
    }
    return false;
}

static bool domain_conflicts(const struct model_domain *domain,
                             const struct model_endpoint *endpoint)
{
    for (size_t i = 0; i < endpoint->region_count; i++) {
        if (overlaps_mapping(domain, endpoint->regions[i].start, endpoint->regions[i].end)) {
            return true;
        }
    }
    return false;
}

bool viommu_model_offers(const struct viommu_model *model, uint64_t feature)
{
    return (model->parameters.offered_features & feature) != 0;
}

bool viommu_model_accepted(const struct viommu_model *model, uint64_t feature)
{
    return (model->accepted & feature) != 0;
}

/* ---- requests -------------------------------------------------------------------------------- */

static uint64_t granule_mask(const struct viommu_model *model)
{
    uint64_t mask = model->parameters.page_size_mask;

    return mask == 0 ? 0 : (mask & (~mask + 1)) - 1;
}

static bool domain_in_range(const struct viommu_model *model, uint32_t domain)
{
    return !viommu_model_offers(model, VIOMMU_MODEL_F_DOMAIN_RANGE) ||
           (domain >= model->parameters.domain_start && domain <= model->parameters.domain_end);
}

static bool input_in_range(const struct viommu_model *model, uint64_t first, uint64_t last)
{
    return !viommu_model_offers(model, VIOMMU_MODEL_F_INPUT_RANGE) ||
           (first >= model->parameters.input_start && last <= model->parameters.input_end);
}

static void check_domain(struct viommu_model *model, uint32_t domain)
{
    if (!domain_in_range(model, domain) &&
        viommu_model_accepted(model, VIOMMU_MODEL_F_DOMAIN_RANGE)) {
        viommu_model_violate(model, "domain %" PRIu32 " is outside domain_range", domain);
    }
}

/* Whether the device cannot take an endpoint out of its domain, because it is not alone there. */
static bool is_stuck(const struct viommu_model *model, const struct model_endpoint *endpoint)
{
    return model->parameters.lone_detach && endpoint->domain->endpoints > 1;
}

static int attach(struct viommu_model *model, const struct viommu_model_request *request,
                  const uint8_t *bytes)
{
    const struct viommu_model_parameters *parameters = &model->parameters;
    uint32_t known =
        viommu_model_accepted(model, VIOMMU_MODEL_F_BYPASS_CONFIG) ? ATTACH_FLAG_BYPASS : 0;
    bool bypass = (request->flags & ATTACH_FLAG_BYPASS) != 0;
    struct model_endpoint *endpoint = find_endpoint(model, request->endpoint);
    struct model_domain *domain = find_domain(model, request->domain);
    bool domain_dies;

    check_domain(model, request->domain);
    if (!all_zero(bytes + 16, 4)) {
        viommu_model_violate(model, "ATTACH with reserved bytes that are not 0");
        return VIOMMU_MODEL_S_INVAL;
    }
    if ((request->flags & ~known) != 0) {
        viommu_model_violate(model, "ATTACH with unknown flags 0x%" PRIx32, request->flags);
        return VIOMMU_MODEL_S_INVAL;
    }
    if (endpoint == NULL) {
        return VIOMMU_MODEL_S_NOENT;
    }
    if (!domain_in_range(model, request->domain)) {
        return VIOMMU_MODEL_S_RANGE;
    }
    if (endpoint->domain != NULL && endpoint->domain == domain) {
        viommu_model_violate(model, "ATTACH of endpoint 0x%" PRIx32 " to its own domain %" PRIu32,
                             request->endpoint, request->domain);
        if (parameters->keep_on_reattach) {
            return domain->bypass == bypass ? VIOMMU_MODEL_S_OK : VIOMMU_MODEL_S_INVAL;
        }
    } else if (endpoint->domain != NULL && (parameters->no_move || is_stuck(model, endpoint))) {
        return VIOMMU_MODEL_S_UNSUPP;
    }
    domain_dies = endpoint->domain != NULL && endpoint->domain->endpoints == 1;
    if (domain != NULL && !(domain_dies && endpoint->domain == domain)) {
        if (domain->bypass != bypass) {
            return VIOMMU_MODEL_S_INVAL;
        }
        if ((parameters->one_endpoint && endpoint->domain != domain) ||
            domain_conflicts(domain, endpoint)) {
            return VIOMMU_MODEL_S_UNSUPP;
        }
    } else {
        if (parameters->max_domains != 0 &&
            model->domain_count - (domain_dies ? 1 : 0) >= parameters->max_domains) {
            return VIOMMU_MODEL_S_NOMEM;
        }
        leave_domain(model, endpoint);
        domain = create_domain(model, request->domain, bypass);
        if (domain == NULL) {
            return VIOMMU_MODEL_S_NOMEM;
        }
    }
    if (endpoint->domain != NULL) {
        leave_domain(model, endpoint);
    }
    endpoint->domain = domain;
    domain->endpoints++;
    return VIOMMU_MODEL_S_OK;
}

static int detach(struct viommu_model *model, const struct viommu_model_request *request,
                  const uint8_t *bytes)
{
    struct model_endpoint *endpoint = find_endpoint(model, request->endpoint);

    check_domain(model, request->domain);
    if (!all_zero(bytes + 12, 8)) {
        viommu_model_violate(model, "DETACH with reserved bytes that are not 0");
    }
    if (endpoint == NULL) {
        return VIOMMU_MODEL_S_NOENT;
    }
    if (endpoint->domain == NULL || endpoint->domain->id != request->domain) {
        return VIOMMU_MODEL_S_INVAL;
    }
    if (is_stuck(model, endpoint)) {
        return VIOMMU_MODEL_S_UNSUPP;
    }
    leave_domain(model, endpoint);
    return VIOMMU_MODEL_S_OK;
}

static bool hits_reserved_region(const struct viommu_model *model,
                                 const struct model_domain *domain, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < model->endpoint_count; i++) {
        if (model->endpoints[i].domain == domain &&
            overlaps_region(&model->endpoints[i], first, last)) {
            return true;
        }
    }
    return false;
}

/* Whether there is no room for another mapping, in the domain or at all. */
static bool is_full(const struct viommu_model *model, const struct model_domain *domain)
{
    const struct viommu_model_parameters *parameters = &model->parameters;
    size_t all = 0;

    for (size_t i = 0; i < model->domain_count; i++) {
        all += model->domains[i]->count;
    }
    return (parameters->max_mappings != 0 && domain->count >= parameters->max_mappings) ||
           (parameters->max_all_mappings != 0 && all >= parameters->max_all_mappings);
}

static int map(struct viommu_model *model, const struct viommu_model_request *request)
{
    uint32_t known = MAP_FLAG_READ | MAP_FLAG_WRITE |
                     (viommu_model_accepted(model, VIOMMU_MODEL_F_MMIO) ? MAP_FLAG_MMIO : 0U);
    struct model_domain *domain = find_domain(model, request->domain);
    struct viommu_model_mapping mapping = {request->virt_start, request->virt_end,
                                           request->phys_start, request->flags};

    check_domain(model, request->domain);
    if ((request->flags & ~known) != 0) {
        viommu_model_violate(model, "MAP with unknown flags 0x%" PRIx32, request->flags);
        return VIOMMU_MODEL_S_INVAL;
    }
    if (mapping.last <= mapping.first) {
        viommu_model_violate(model, "MAP of 0x%" PRIx64 " to 0x%" PRIx64 ": not a range",
                             mapping.first, mapping.last);
        return VIOMMU_MODEL_S_INVAL;
    }
    /* Two's complement: the end of the address space plus one is 0, which is aligned. */
    if (((mapping.first | (mapping.last + 1) | mapping.physical) & granule_mask(model)) != 0) {
        viommu_model_violate(model, "MAP of 0x%" PRIx64 " to 0x%" PRIx64 ": unaligned",
                             mapping.first, mapping.last);
        return VIOMMU_MODEL_S_RANGE;
    }
    if (!input_in_range(model, mapping.first, mapping.last)) {
        if (viommu_model_accepted(model, VIOMMU_MODEL_F_INPUT_RANGE)) {
            viommu_model_violate(model, "MAP of 0x%" PRIx64 " to 0x%" PRIx64 ": not in input_range",
                                 mapping.first, mapping.last);
        }
        return VIOMMU_MODEL_S_RANGE;
    }
    if (mapping.last == UINT64_MAX && model->parameters.no_top) {
        return VIOMMU_MODEL_S_RANGE;
    }
    if (mapping.last - mapping.first > UINT64_MAX - mapping.physical) {
        viommu_model_violate(model, "MAP to 0x%" PRIx64 ": the physical range wraps",
                             mapping.physical);
        return VIOMMU_MODEL_S_RANGE;
    }
    if (domain == NULL) {
        return VIOMMU_MODEL_S_NOENT;
    }
    if (domain->bypass || overlaps_mapping(domain, mapping.first, mapping.last)) {
        return VIOMMU_MODEL_S_INVAL;
    }
    if (hits_reserved_region(model, domain, mapping.first, mapping.last)) {
        /* Without PROBE a driver cannot know. */
        if (viommu_model_accepted(model, VIOMMU_MODEL_F_PROBE)) {
            viommu_model_violate(model, "MAP of 0x%" PRIx64 " to 0x%" PRIx64 ": a reserved region",
                                 mapping.first, mapping.last);
        }
        return VIOMMU_MODEL_S_INVAL;
    }
    if (is_full(model, domain)) {
        return VIOMMU_MODEL_S_NOMEM;
    }
    return insert_mapping(domain, &mapping) ? VIOMMU_MODEL_S_OK : VIOMMU_MODEL_S_NOMEM;
}

static int unmap(struct viommu_model *model, const struct viommu_model_request *request,
                 const uint8_t *bytes)
{
    struct model_domain *domain = find_domain(model, request->domain);
    uint64_t first = request->virt_start;
    uint64_t last = request->virt_end;
    bool reserved = !all_zero(bytes + 24, 4);
    size_t index;
    size_t whole = 0;
    bool cut = false;

    check_domain(model, request->domain);
    if (reserved) {
        viommu_model_violate(model, "UNMAP with reserved bytes that are not 0");
    }
    if (last < first) {
        viommu_model_violate(model, "UNMAP of 0x%" PRIx64 " to 0x%" PRIx64 ": not a range", first,
                             last);
        return VIOMMU_MODEL_S_INVAL;
    }
    if (((first | (last + 1)) & granule_mask(model)) != 0) {
        viommu_model_violate(model, "UNMAP of 0x%" PRIx64 " to 0x%" PRIx64 ": unaligned", first,
                             last);
    }
    if (domain == NULL) {
        return VIOMMU_MODEL_S_NOENT;
    }
    if (domain->bypass) {
        return VIOMMU_MODEL_S_INVAL;
    }
    index = search_mapping(domain, first);
    while (index + whole < domain->count && domain->mappings[index + whole].first <= last) {
        const struct viommu_model_mapping *mapping = &domain->mappings[index + whole];

        if (mapping->first < first || mapping->last > last) {
            cut = true;
            break;
        }
        whole++;
    }
    if (cut) {
        viommu_model_violate(model, "UNMAP of 0x%" PRIx64 " to 0x%" PRIx64 ": cuts a mapping",
                             first, last);
    }
    if (!cut || model->parameters.partial_unmap) {
        remove_mappings(domain, index, whole);
    }
    if (cut) {
        return VIOMMU_MODEL_S_RANGE;
    }
    return reserved ? VIOMMU_MODEL_S_INVAL : VIOMMU_MODEL_S_OK;
}

/* Fills in the properties; bytes that do not fit are left out. */
static void write_properties(const struct viommu_model *model,
                             const struct model_endpoint *endpoint, uint8_t *properties)
{
    size_t size = model->parameters.probe_size;
    size_t used = 0;

    if (endpoint->probe_bytes != NULL) {
        memcpy(properties, endpoint->probe_bytes,
               endpoint->probe_size < size ? endpoint->probe_size : size);
        return;
    }
    for (size_t i = 0; i < endpoint->region_count && size - used >= PROPERTY_SIZE; i++) {
        uint8_t *property = properties + used;

        viommu_model_put16(property, PROPERTY_RESV_MEM);
        viommu_model_put16(property + 2, PROPERTY_LENGTH);
        property[4] = endpoint->regions[i].subtype;
        viommu_model_put64(property + 8, endpoint->regions[i].start);
        viommu_model_put64(property + 16, endpoint->regions[i].end);
        used += PROPERTY_SIZE;
    }
}

static int probe(struct viommu_model *model, struct model_pending *pending, const uint8_t *bytes)
{
    const struct model_endpoint *endpoint = find_endpoint(model, pending->decoded.endpoint);

    if (!all_zero(bytes + 8, 64)) {
        viommu_model_violate(model, "PROBE with reserved bytes that are not 0");
    }
    if (pending->answer_length < (size_t)model->parameters.probe_size + TAIL_SIZE) {
        return VIOMMU_MODEL_S_INVAL;
    }
    if (endpoint == NULL) {
        return VIOMMU_MODEL_S_NOENT;
    }
    write_properties(model, endpoint, pending->answer);
    return VIOMMU_MODEL_S_OK;
}

static size_t readable_length(uint8_t type)
{
    switch (type) {
    case VIOMMU_MODEL_ATTACH:
    case VIOMMU_MODEL_DETACH:
        return 20;
    case VIOMMU_MODEL_MAP:
        return 36;
    case VIOMMU_MODEL_UNMAP:
        return 28;
    case VIOMMU_MODEL_PROBE:
        return 72;
    default:
        return 0;
    }
}

static void decode(const uint8_t *bytes, struct viommu_model_request *request)
{
    *request = (struct viommu_model_request){.type = bytes[0]};
    switch (request->type) {
    case VIOMMU_MODEL_ATTACH:
        request->flags = viommu_model_get32(bytes + 12);
        request->endpoint = viommu_model_get32(bytes + 8);
        request->domain = viommu_model_get32(bytes + 4);
        break;
    case VIOMMU_MODEL_DETACH:
        request->endpoint = viommu_model_get32(bytes + 8);
        request->domain = viommu_model_get32(bytes + 4);
        break;
    case VIOMMU_MODEL_MAP:
        request->phys_start = viommu_model_get64(bytes + 24);
        request->flags = viommu_model_get32(bytes + 32);
        request->domain = viommu_model_get32(bytes + 4);
        request->virt_start = viommu_model_get64(bytes + 8);
        request->virt_end = viommu_model_get64(bytes + 16);
        break;
    case VIOMMU_MODEL_UNMAP:
        request->domain = viommu_model_get32(bytes + 4);
        request->virt_start = viommu_model_get64(bytes + 8);
        request->virt_end = viommu_model_get64(bytes + 16);
        break;
    case VIOMMU_MODEL_PROBE:
        request->endpoint = viommu_model_get32(bytes + 4);
        break;
    default:
        break;
    }
}

/* The status that a test has scripted for this request, or -1. */
static int scripted_status(struct viommu_model *model, uint8_t type)
{
    int status = -1;
    size_t kept = 0;

    for (size_t i = 0; i < model->script_count; i++) {
        struct model_script script = model->scripts[i];

        if ((script.type == 0 || script.type == type) && --script.nth == 0) {
            status = script.status;
            continue;
        }
        model->scripts[kept++] = script;
    }
    model->script_count = kept;
    return status;
}

/*
 * Whether the framing is right. A device must not rely on it, but since some do, the only framing
 * that works everywhere is one readable and one writable descriptor of exact lengths.
 */
static bool check_framing(struct viommu_model *model, const struct model_pending *pending,
                          uint8_t type, uint64_t readable, uint64_t writable)
{
    const struct model_chain *chain = &pending->chain;

    if (chain->readable_count == 1 && chain->writable_count == 1 &&
        chain->readable_length == readable && chain->writable_length == writable) {
        return true;
    }
    viommu_model_violate(model,
                         "request type %u with %zu readable descriptors (%" PRIu64
                         " bytes) and %zu writable ones (%" PRIu64 " bytes)",
                         type, chain->readable_count, chain->readable_length, chain->writable_count,
                         chain->writable_length);
    return false;
}

static bool prepare_answer(struct model_pending *pending, size_t length)
{
    pending->answer_length = length;
    pending->status_offset = length - TAIL_SIZE;
    pending->answer = calloc(1, length);
    return pending->answer != NULL;
}

/* Understands the request and makes room for the answer. false: answer with used length 0. */
static bool parse(struct viommu_model *model, struct model_pending *pending)
{
    const uint8_t *bytes = pending->request;
    uint64_t writable = pending->chain.writable_length;
    uint64_t expected = TAIL_SIZE;
    uint8_t type = 0;
    size_t readable;

    if (pending->request_length >= 4) {
        type = bytes[0];
        if (!all_zero(bytes + 1, 3)) {
            viommu_model_violate(model, "request head with reserved bytes that are not 0");
        }
    }
    readable = readable_length(type);
    if (readable == 0) {
        viommu_model_violate(model, "request of unknown type %u", type);
        model->counters.requests[0]++;
        return model->parameters.unknown_is_unsupp && pending->request_length >= 4 &&
               writable >= TAIL_SIZE && prepare_answer(pending, TAIL_SIZE);
    }
    model->counters.requests[type]++;
    if ((type == VIOMMU_MODEL_MAP || type == VIOMMU_MODEL_UNMAP) &&
        !viommu_model_accepted(model, VIOMMU_MODEL_F_MAP_UNMAP)) {
        viommu_model_violate(model, "MAP or UNMAP without MAP_UNMAP negotiated");
        return false;
    }
    if (type == VIOMMU_MODEL_PROBE) {
        if (!viommu_model_accepted(model, VIOMMU_MODEL_F_PROBE)) {
            viommu_model_violate(model, "PROBE without PROBE negotiated");
            return false;
        }
        expected += model->parameters.probe_size;
    }
    if ((!check_framing(model, pending, type, readable, expected) &&
         model->parameters.fixed_framing) ||
        pending->request_length < readable || writable < TAIL_SIZE || expected > MODEL_MAX_PROBE) {
        return false;
    }
    decode(bytes, &pending->decoded);
    /* The status sits where the type puts it, not at the end of a buffer that is too long. */
    return prepare_answer(pending, (size_t)(writable < expected ? writable : expected));
}

/* Returns the status. */
static int do_request(struct viommu_model *model, struct model_pending *pending,
                      const uint8_t *bytes)
{
    const struct viommu_model_request *request = &pending->decoded;

    if (request->type < 32 && (model->parameters.unsupported >> request->type & 1) != 0) {
        return VIOMMU_MODEL_S_UNSUPP;
    }
    switch (request->type) {
    case VIOMMU_MODEL_ATTACH:
        return attach(model, request, bytes);
    case VIOMMU_MODEL_DETACH:
        return detach(model, request, bytes);
    case VIOMMU_MODEL_MAP:
        return map(model, request);
    case VIOMMU_MODEL_UNMAP:
        return unmap(model, request, bytes);
    case VIOMMU_MODEL_PROBE:
        return probe(model, pending, bytes);
    default:
        return VIOMMU_MODEL_S_UNSUPP;
    }
}

void viommu_model_perform(struct viommu_model *model, struct model_pending *pending)
{
    const uint8_t *bytes = pending->request;

    pending->performed = true;
    pending->status = -1;
    if (pending->request_length > 0) {
        pending->decoded.type = bytes[0];
    }
    if (!parse(model, pending)) {
        if (model->observer != NULL) {
            model->observer(model->observer_ctx, &pending->decoded, -1);
        }
        return;
    }
    pending->status = scripted_status(model, pending->decoded.type);
    if (pending->status < 0) {
        pending->status = viommu_model_strikes(model, VIOMMU_MODEL_NOT_PERFORMED)
                              ? VIOMMU_MODEL_S_OK
                              : do_request(model, pending, bytes);
    }
    pending->answer[pending->status_offset] = (uint8_t)pending->status;
    if (model->observer != NULL) {
        model->observer(model->observer_ctx, &pending->decoded, pending->status);
    }
}

/* Drops the cached identities of unattached endpoints: bypass is over at once. */
void viommu_model_forget_unattached_identity(struct viommu_model *model)
{
    for (size_t i = 0; i < model->endpoint_count; i++) {
        struct model_endpoint *endpoint = &model->endpoints[i];
        size_t kept = 0;

        for (size_t j = 0; j < endpoint->cache_count; j++) {
            if (endpoint->cache[j].attached) {
                endpoint->cache[kept++] = endpoint->cache[j];
            }
        }
        endpoint->cache_count = kept;
    }
}

void viommu_model_completed(struct viommu_model *model, const struct model_pending *pending)
{
    const struct viommu_model_request *request = &pending->decoded;

    for (size_t i = 0; i < model->endpoint_count; i++) {
        struct model_endpoint *endpoint = &model->endpoints[i];
        size_t kept = 0;

        if (request->type == VIOMMU_MODEL_ATTACH || request->type == VIOMMU_MODEL_DETACH) {
            if (endpoint->id == request->endpoint) {
                endpoint->cache_count = 0;
            }
            continue;
        }
        /* MAP too: what it maps must be usable now, whatever was cached there before. */
        if (request->type != VIOMMU_MODEL_UNMAP && request->type != VIOMMU_MODEL_MAP) {
            continue;
        }
        for (size_t j = 0; j < endpoint->cache_count; j++) {
            const struct model_cached *cached = &endpoint->cache[j];

            if (!cached->attached || cached->domain != request->domain ||
                cached->mapping.first > request->virt_end ||
                cached->mapping.last < request->virt_start) {
                endpoint->cache[kept++] = *cached;
            }
        }
        endpoint->cache_count = kept;
    }
}

/* ---- DMA ------------------------------------------------------------------------------------- */

struct translation {
    enum viommu_model_verdict verdict;
    uint64_t physical;
    uint64_t last; /* the same verdict holds up to here at least */
    bool cached;
    const struct viommu_model_mapping *mapping;
};

static bool permits(const struct viommu_model *model, uint32_t flags, bool write)
{
    if (write) {
        return (flags & MAP_FLAG_WRITE) != 0;
    }
    return (flags & MAP_FLAG_READ) != 0 || model->parameters.read_is_implied;
}

static bool unattached_bypass(const struct viommu_model *model)
{
    /* BYPASS_CONFIG counts once it is offered: a driver does not end bypass by not accepting it. */
    if (viommu_model_offers(model, VIOMMU_MODEL_F_BYPASS_CONFIG) && model->bypass != 0) {
        return true;
    }
    return (model->status & STATUS_FEATURES_OK) != 0 &&
           viommu_model_accepted(model, VIOMMU_MODEL_F_BYPASS);
}

static struct translation translate_mapping(const struct viommu_model *model,
                                            const struct viommu_model_mapping *mapping,
                                            uint64_t iova, bool write)
{
    struct translation result = {.last = mapping->last, .mapping = mapping};

    if (permits(model, mapping->flags, write)) {
        result.verdict = VIOMMU_MODEL_MAPPED;
        result.physical = mapping->physical + (iova - mapping->first);
    }
    return result;
}

/* What the tables say, without regions and caches. */
static struct translation translate_now(const struct viommu_model *model,
                                        const struct model_endpoint *endpoint, uint64_t iova,
                                        bool write)
{
    struct translation result = {.last = UINT64_MAX};
    const struct model_domain *domain = endpoint != NULL ? endpoint->domain : NULL;
    size_t index;

    if (domain == NULL ? unattached_bypass(model) : domain->bypass) {
        result.verdict = VIOMMU_MODEL_IDENTITY;
        result.physical = iova;
        return result;
    }
    if (domain == NULL) {
        return result;
    }
    index = search_mapping(domain, iova);
    if (index == domain->count) {
        return result;
    }
    if (domain->mappings[index].first > iova) {
        result.last = domain->mappings[index].first - 1;
        return result;
    }
    return translate_mapping(model, &domain->mappings[index], iova, write);
}

/* To a place of the caller: it would take longer to copy what was just stored piece by piece. */
static void translate(const struct viommu_model *model, const struct model_endpoint *endpoint,
                      uint64_t iova, bool write, struct translation *result)
{
    uint64_t next = UINT64_MAX; /* the last byte before something else begins */

    *result = translate_now(model, endpoint, iova, write);
    if (endpoint == NULL) {
        return;
    }
    for (size_t i = 0; i < endpoint->cache_count; i++) {
        const struct model_cached *cached = &endpoint->cache[i];

        if (cached->mapping.first > iova) {
            next = cached->mapping.first - 1 < next ? cached->mapping.first - 1 : next;
        } else if (cached->mapping.last >= iova && permits(model, cached->mapping.flags, write)) {
            *result = translate_mapping(model, &cached->mapping, iova, write);
            result->cached = true;
            if (cached->identity) {
                result->verdict = VIOMMU_MODEL_IDENTITY;
            }
            break;
        }
    }
    for (size_t i = 0; i < endpoint->region_count; i++) {
        const struct viommu_model_region *region = &endpoint->regions[i];

        if (region->start > iova) {
            next = region->start - 1 < next ? region->start - 1 : next;
        } else if (region->end >= iova) {
            if (region->subtype == REGION_MSI) {
                /* The window is in front of all translation. */
                *result = (struct translation){.verdict = write ? VIOMMU_MODEL_DOORBELL
                                                                : VIOMMU_MODEL_BLOCKED,
                                               .last = region->end};
            } else if (result->verdict == VIOMMU_MODEL_MAPPED) {
                *result =
                    (struct translation){.verdict = VIOMMU_MODEL_BLOCKED, .last = region->end};
            }
        }
    }
    if (result->last > next) {
        result->last = next;
    }
}

enum viommu_model_verdict viommu_model_translate(const struct viommu_model *model,
                                                 uint32_t endpoint, uint64_t iova, bool write,
                                                 uint64_t *physical)
{
    struct translation result;

    translate(model, find_endpoint(model, endpoint), iova, write, &result);
    if (physical != NULL &&
        (result.verdict == VIOMMU_MODEL_MAPPED || result.verdict == VIOMMU_MODEL_IDENTITY)) {
        *physical = result.physical;
    }
    return result.verdict;
}

/* Remembers a translation that was used, as a TLB would. Failing to is fine: a TLB may forget. */
static void remember(struct viommu_model *model, struct model_endpoint *endpoint, uint64_t iova,
                     const struct translation *used)
{
    struct model_cached cached = {.attached = endpoint->domain != NULL};

    if (!model->retain || model->effect != VIOMMU_MODEL_EFFECT_AT_DOORBELL || used->cached) {
        return;
    }
    if (cached.attached) {
        cached.domain = endpoint->domain->id;
    }
    if (used->verdict == VIOMMU_MODEL_MAPPED) {
        cached.mapping = *used->mapping;
    } else if (used->verdict == VIOMMU_MODEL_IDENTITY) {
        uint64_t offset_mask = granule_mask(model);

        cached.identity = true;
        cached.mapping.first = iova & ~offset_mask;
        cached.mapping.last = iova | offset_mask;
        cached.mapping.physical = cached.mapping.first;
        cached.mapping.flags = MAP_FLAG_READ | MAP_FLAG_WRITE;
    } else {
        return;
    }
    if (endpoint->cache_count == endpoint->cache_capacity) {
        size_t capacity = endpoint->cache_capacity > 0 ? 2 * endpoint->cache_capacity : 8;
        struct model_cached *cache = realloc(endpoint->cache, capacity * sizeof *cache);

        if (cache == NULL) {
            return;
        }
        endpoint->cache = cache;
        endpoint->cache_capacity = capacity;
    }
    endpoint->cache[endpoint->cache_count++] = cached;
}

static void build_event(uint8_t *event, uint8_t reason, uint32_t endpoint, uint64_t address,
                        uint32_t flags)
{
    memset(event, 0, MODEL_EVENT_SIZE);
    event[0] = reason;
    viommu_model_put32(event + 4, flags);
    viommu_model_put32(event + 8, endpoint);
    viommu_model_put64(event + 16, address);
}

static void report_fault(struct viommu_model *model, uint32_t id, uint64_t iova, bool write)
{
    const struct model_endpoint *endpoint = find_endpoint(model, id);
    uint8_t event[MODEL_EVENT_SIZE];
    uint8_t reason = EVENT_REASON_MAPPING;

    if (model->parameters.no_events) {
        return;
    }
    if (endpoint == NULL) {
        reason = EVENT_REASON_UNKNOWN;
    } else if (endpoint->domain == NULL) {
        reason = EVENT_REASON_DOMAIN;
    }
    build_event(event, reason, id, iova,
                EVENT_FLAG_ADDRESS | (write ? EVENT_FLAG_WRITE : EVENT_FLAG_READ));
    (void)viommu_model_send_event(model, event, sizeof event, sizeof event, true);
}

/* A DMA met a fault at `iova` with `size` bytes to go. */
static void fault(struct viommu_model *model, uint32_t endpoint, uint64_t iova, size_t size,
                  bool write)
{
    uint32_t piece = model->parameters.event_piece;
    unsigned int pieces = 0;

    model->counters.dma_faults++;
    report_fault(model, endpoint, iova, write);
    while (piece > 0 && size > piece && iova <= UINT64_MAX - piece && ++pieces < MAX_PIECES) {
        size -= piece;
        iova += piece;
        if (viommu_model_translate(model, endpoint, iova, write, NULL) == VIOMMU_MODEL_BLOCKED) {
            report_fault(model, endpoint, iova, write);
        }
    }
}

/* Moves bytes between the endpoint and guest memory, up to the first that is not there. */
static size_t transfer(struct viommu_model *model, uint64_t physical, uint8_t *bytes, size_t size,
                       bool write)
{
    size_t done = 0;
    const struct viommu_model_memory *memory = &model->memory;

    if (write ? memory->write(memory->ctx, physical, bytes, size)
              : memory->read(memory->ctx, physical, bytes, size)) {
        return size;
    }
    while (done < size && physical <= UINT64_MAX - done &&
           (write ? memory->write(memory->ctx, physical + done, bytes + done, 1)
                  : memory->read(memory->ctx, physical + done, bytes + done, 1))) {
        done++;
    }
    return done;
}

size_t viommu_model_dma(struct viommu_model *model, uint32_t id, uint64_t iova, void *buffer,
                        size_t size, bool write)
{
    struct model_endpoint *endpoint = find_endpoint(model, id);
    uint8_t *bytes = buffer;
    size_t done = 0;

    while (done < size) {
        uint64_t address = iova + done;
        struct translation result;
        size_t part = size - done;
        size_t moved;

        if (address < iova) {
            break; /* behind the end of the address space there is nothing */
        }
        translate(model, endpoint, address, write, &result);
        if (result.verdict == VIOMMU_MODEL_BLOCKED) {
            fault(model, id, address, part, write);
            break;
        }
        if (part - 1 > result.last - address) {
            part = (size_t)(result.last - address) + 1;
        }
        moved = result.verdict == VIOMMU_MODEL_DOORBELL
                    ? part
                    : transfer(model, result.physical, bytes + done, part, write);
        if (endpoint != NULL) {
            if (result.verdict == VIOMMU_MODEL_IDENTITY) {
                uint64_t granule = granule_mask(model);
                uint64_t page = address & ~granule;

                /* Every page of the access, since each may be cached on its own. */
                while (moved > 0 && page <= address + (moved - 1)) {
                    remember(model, endpoint, page, &result);
                    if (granule == UINT64_MAX || page > UINT64_MAX - granule - 1) {
                        break;
                    }
                    page += granule + 1;
                }
            } else {
                remember(model, endpoint, address, &result);
            }
        }
        done += moved;
        if (moved < part) {
            break;
        }
    }
    return done;
}

/* ---- looking inside -------------------------------------------------------------------------- */

const struct viommu_model_counters *viommu_model_counters(const struct viommu_model *model)
{
    return &model->counters;
}

size_t viommu_model_violations(const struct viommu_model *model)
{
    return model->violation_count;
}

const char *viommu_model_violation(const struct viommu_model *model, size_t index)
{
    if (index >= model->violation_count || index >= MODEL_KEPT_VIOLATIONS) {
        return NULL;
    }
    return model->violations[index];
}

void viommu_model_forget_violations(struct viommu_model *model)
{
    model->violation_count = 0;
}

uint8_t viommu_model_bypass(const struct viommu_model *model)
{
    return model->bypass;
}

size_t viommu_model_domain_count(const struct viommu_model *model)
{
    return model->domain_count;
}

bool viommu_model_domain_exists(const struct viommu_model *model, uint32_t domain)
{
    return find_domain(model, domain) != NULL;
}

size_t viommu_model_mapping_count(const struct viommu_model *model, uint32_t domain)
{
    const struct model_domain *found = find_domain(model, domain);

    return found != NULL ? found->count : 0;
}

bool viommu_model_mapping_at(const struct viommu_model *model, uint32_t domain, uint64_t iova,
                             struct viommu_model_mapping *mapping)
{
    const struct model_domain *found = find_domain(model, domain);
    size_t index = found != NULL ? search_mapping(found, iova) : 0;

    if (found == NULL || index == found->count || found->mappings[index].first > iova) {
        return false;
    }
    *mapping = found->mappings[index];
    return true;
}

bool viommu_model_mapping(const struct viommu_model *model, uint32_t domain, size_t index,
                          struct viommu_model_mapping *mapping)
{
    const struct model_domain *found = find_domain(model, domain);

    if (found == NULL || index >= found->count) {
        return false;
    }
    *mapping = found->mappings[index];
    return true;
}

bool viommu_model_domain_of(const struct viommu_model *model, uint32_t endpoint, uint32_t *domain)
{
    const struct model_endpoint *found = find_endpoint(model, endpoint);

    if (found == NULL || found->domain == NULL) {
        return false;
    }
    *domain = found->domain->id;
    return true;
}

void viommu_model_observe(struct viommu_model *model,
                          void (*observer)(void *ctx, const struct viommu_model_request *request,
                                           int status),
                          void *ctx)
{
    model->observer = observer;
    model->observer_ctx = ctx;
}

/* ---- misbehaviour ---------------------------------------------------------------------------- */

bool viommu_model_fail_request(struct viommu_model *model, uint8_t type, uint64_t nth,
                               uint8_t status)
{
    if (model->script_count == MODEL_MAX_SCRIPTS || nth == 0) {
        return false;
    }
    model->scripts[model->script_count++] =
        (struct model_script){.type = type, .status = status, .nth = nth};
    return true;
}

size_t viommu_model_flood(struct viommu_model *model, uint32_t endpoint, uint64_t address,
                          size_t count)
{
    size_t sent = 0;
    uint8_t event[MODEL_EVENT_SIZE];

    build_event(event, EVENT_REASON_MAPPING, endpoint, address,
                EVENT_FLAG_ADDRESS | EVENT_FLAG_READ);
    for (size_t i = 0; i < count; i++) {
        sent += viommu_model_send_event(model, event, sizeof event, sizeof event, false) ? 1 : 0;
    }
    return sent;
}

void viommu_model_storm(struct viommu_model *model, uint32_t endpoint, uint64_t address,
                        uint64_t count)
{
    uint8_t event[MODEL_EVENT_SIZE];

    build_event(event, EVENT_REASON_MAPPING, endpoint, address,
                EVENT_FLAG_ADDRESS | EVENT_FLAG_READ);
    viommu_model_start_storm(model, event, count);
}

bool viommu_model_inject_event(struct viommu_model *model, const void *bytes, size_t size,
                               uint32_t length)
{
    return viommu_model_send_event(model, bytes, size, length, false);
}
