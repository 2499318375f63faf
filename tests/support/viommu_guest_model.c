/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_guest_model.h"

#include <stdlib.h>

#define RIGHT(status) (1u << (status))

static uint64_t field(const uint8_t *bytes, unsigned int offset, unsigned int size)
{
    uint64_t value = 0;

    for (unsigned int i = 0; i < size; i++) {
        value |= (uint64_t)bytes[offset + i] << (8 * i);
    }
    return value;
}

struct guest_model *guest_model_create(void)
{
    struct guest_model *model = calloc(1, sizeof(*model));

    if (model == NULL) {
        abort();
    }
    return model;
}

static void end_domain(struct model_domain *domain)
{
    free(domain->mappings);
    *domain = (struct model_domain){0};
}

void guest_model_destroy(struct guest_model *model)
{
    for (unsigned int i = 0; i < MODEL_DOMAINS; i++) {
        end_domain(&model->domains[i]);
    }
    free(model);
}

void guest_model_forget_devices(struct guest_model *model)
{
    for (unsigned int i = 0; i < MODEL_DOMAINS; i++) {
        model->domains[i].had_device = false;
    }
    for (unsigned int i = 0; i < MODEL_ENDPOINTS; i++) {
        const struct model_endpoint *endpoint = &model->endpoints[i];

        if (endpoint->used && endpoint->device && endpoint->domain != NULL) {
            endpoint->domain->had_device = true;
        }
    }
}

void guest_model_leave(struct guest_model *model, struct model_endpoint *endpoint)
{
    struct model_domain *domain = endpoint->domain;

    endpoint->domain = NULL;
    for (unsigned int i = 0; i < MODEL_ENDPOINTS; i++) {
        if (model->endpoints[i].used && model->endpoints[i].domain == domain) {
            return;
        }
    }
    if (domain != NULL) {
        end_domain(domain);
    }
}

void guest_model_reset(struct guest_model *model)
{
    for (unsigned int i = 0; i < MODEL_ENDPOINTS; i++) {
        if (model->endpoints[i].domain != NULL) {
            guest_model_leave(model, &model->endpoints[i]);
        }
    }
}

struct model_domain *guest_model_domain(struct guest_model *model, uint32_t id)
{
    for (unsigned int i = 0; i < MODEL_DOMAINS; i++) {
        if (model->domains[i].used && model->domains[i].id == id) {
            return &model->domains[i];
        }
    }
    return NULL;
}

struct model_endpoint *guest_model_endpoint(struct guest_model *model, uint32_t id)
{
    for (unsigned int i = 0; i < MODEL_ENDPOINTS; i++) {
        if (model->endpoints[i].used && model->endpoints[i].id == id) {
            return &model->endpoints[i];
        }
    }
    return NULL;
}

const struct model_mapping *guest_model_find(const struct model_domain *domain, uint64_t iova)
{
    for (unsigned int i = 0; i < domain->count; i++) {
        if (domain->mappings[i].first <= iova && iova <= domain->mappings[i].last) {
            return &domain->mappings[i];
        }
    }
    return NULL;
}

unsigned int guest_model_domains(const struct guest_model *model)
{
    unsigned int sum = 0;

    for (unsigned int i = 0; i < MODEL_DOMAINS; i++) {
        sum += model->domains[i].used ? 1 : 0;
    }
    return sum;
}

unsigned int guest_model_mappings(const struct guest_model *model)
{
    unsigned int sum = 0;

    for (unsigned int i = 0; i < MODEL_DOMAINS; i++) {
        sum += model->domains[i].count;
    }
    return sum;
}

/* ---- What is wrong with a request ---- */

static bool meet(uint64_t first, uint64_t last, uint64_t other_first, uint64_t other_last)
{
    return first <= other_last && other_first <= last;
}

static bool meets_region(const struct model_endpoint *endpoint, const struct model_mapping *mapping)
{
    for (unsigned int i = 0; i < endpoint->region_count; i++) {
        if (meet(mapping->first, mapping->last, endpoint->regions[i].first,
                 endpoint->regions[i].last)) {
            return true;
        }
    }
    return false;
}

/* Why hardware cannot have a mapping. */
static uint32_t judge_hardware(const struct guest_model *model, const struct model_mapping *mapping)
{
    uint32_t wrong = 0;

    if (!model->grants(mapping->guest, mapping->last - mapping->first + 1, mapping->flags)) {
        wrong |= RIGHT(VIOMMU_FAULT);
    }
    if (mapping->last > model->hardware_last) {
        wrong |= RIGHT(VIOMMU_RANGE);
    }
    return wrong;
}

/* Why an endpoint cannot come to what is mapped already. */
static uint32_t judge_mappings(const struct guest_model *model,
                               const struct model_endpoint *endpoint,
                               const struct model_domain *domain)
{
    uint32_t wrong = 0;

    for (unsigned int i = 0; i < domain->count; i++) {
        if (meets_region(endpoint, &domain->mappings[i])) {
            wrong |= RIGHT(VIOMMU_UNSUPP);
        }
        if (endpoint->device && !domain->had_device) {
            wrong |= judge_hardware(model, &domain->mappings[i]);
        }
    }
    return wrong;
}

static uint32_t judge_attach(struct guest_model *model, const uint8_t *bytes)
{
    const uint32_t id = (uint32_t)field(bytes, 4, 4);
    const uint32_t flags = (uint32_t)field(bytes, 12, 4);
    const struct model_domain *domain = guest_model_domain(model, id);
    const struct model_endpoint *endpoint =
        guest_model_endpoint(model, (uint32_t)field(bytes, 8, 4));
    const uint32_t known = model->agreed_bypass ? VIOMMU_BYPASS : 0;
    uint32_t must = 0;
    uint32_t wrong = 0;

    if (field(bytes, 16, 4) != 0 || (flags & ~known) != 0) {
        must |= RIGHT(VIOMMU_INVAL);
    }
    if (endpoint == NULL) {
        must |= RIGHT(VIOMMU_NOENT);
    }
    if (must != 0) {
        return must;
    }
    if (id > model->last_domain) {
        wrong |= RIGHT(VIOMMU_RANGE);
    }
    if (domain == NULL) {
        return wrong != 0 || guest_model_domains(model) < model->max_domains ? wrong
                                                                             : RIGHT(VIOMMU_NOMEM);
    }
    if (domain->bypass != ((flags & VIOMMU_BYPASS) != 0)) {
        wrong |= RIGHT(VIOMMU_INVAL);
    }
    return wrong | (endpoint->domain != domain ? judge_mappings(model, endpoint, domain) : 0);
}

static uint32_t judge_detach(struct guest_model *model, const uint8_t *bytes)
{
    const struct model_endpoint *endpoint =
        guest_model_endpoint(model, (uint32_t)field(bytes, 8, 4));
    const struct model_domain *domain = guest_model_domain(model, (uint32_t)field(bytes, 4, 4));

    if (endpoint == NULL) {
        return RIGHT(VIOMMU_NOENT);
    }
    return domain == NULL || endpoint->domain != domain ? RIGHT(VIOMMU_INVAL) : 0;
}

static struct model_mapping asked(const uint8_t *bytes)
{
    return (struct model_mapping){.first = field(bytes, 8, 8),
                                  .last = field(bytes, 16, 8),
                                  .guest = field(bytes, 24, 8),
                                  .flags = (uint32_t)field(bytes, 32, 4)};
}

static uint32_t judge_range(const struct guest_model *model, const struct model_mapping *mapping)
{
    const uint64_t odd = mapping->first | (mapping->last + 1) | mapping->guest;

    return odd % model->granule != 0 || mapping->first < model->input_first ||
                   mapping->last > model->input_last ||
                   mapping->last - mapping->first > UINT64_MAX - mapping->guest
               ? RIGHT(VIOMMU_RANGE)
               : 0;
}

/* Why a mapping cannot be put beside what is there. */
static uint32_t judge_place(const struct guest_model *model, const struct model_domain *domain,
                            const struct model_mapping *mapping)
{
    uint32_t wrong = domain->bypass ? RIGHT(VIOMMU_INVAL) : 0;

    for (unsigned int i = 0; i < domain->count; i++) {
        if (meet(mapping->first, mapping->last, domain->mappings[i].first,
                 domain->mappings[i].last)) {
            wrong |= RIGHT(VIOMMU_INVAL);
        }
    }
    for (unsigned int i = 0; i < MODEL_ENDPOINTS; i++) {
        if (model->endpoints[i].used && model->endpoints[i].domain == domain &&
            meets_region(&model->endpoints[i], mapping)) {
            wrong |= RIGHT(VIOMMU_INVAL);
        }
    }
    return wrong | (domain->had_device ? judge_hardware(model, mapping) : 0);
}

static uint32_t judge_map(struct guest_model *model, const uint8_t *bytes)
{
    const struct model_domain *domain = guest_model_domain(model, (uint32_t)field(bytes, 4, 4));
    const struct model_mapping mapping = asked(bytes);
    const uint32_t known = VIOMMU_READ | VIOMMU_WRITE | (model->agreed_mmio ? VIOMMU_MMIO : 0);
    uint32_t wrong = 0;

    if ((mapping.flags & ~known) != 0) {
        return RIGHT(VIOMMU_INVAL);
    }
    if ((mapping.flags & (VIOMMU_READ | VIOMMU_WRITE)) == 0 || mapping.last <= mapping.first) {
        wrong |= RIGHT(VIOMMU_INVAL);
    }
    wrong |= judge_range(model, &mapping);
    if (domain == NULL) {
        return wrong | RIGHT(VIOMMU_NOENT);
    }
    if (mapping.last > mapping.first) {
        wrong |= judge_place(model, domain, &mapping);
    }
    if (guest_model_mappings(model) >= model->max_mappings) {
        wrong |= RIGHT(VIOMMU_NOMEM);
    }
    return wrong;
}

static uint32_t judge_unmap(struct guest_model *model, const uint8_t *bytes)
{
    const struct model_domain *domain = guest_model_domain(model, (uint32_t)field(bytes, 4, 4));
    const uint64_t first = field(bytes, 8, 8);
    const uint64_t last = field(bytes, 16, 8);

    if (domain == NULL) {
        return RIGHT(VIOMMU_NOENT);
    }
    if (domain->bypass || last < first) {
        return RIGHT(VIOMMU_INVAL);
    }
    for (unsigned int i = 0; i < domain->count; i++) {
        const struct model_mapping *mapping = &domain->mappings[i];

        if (meet(first, last, mapping->first, mapping->last) &&
            (mapping->first < first || mapping->last > last)) {
            return RIGHT(VIOMMU_RANGE);
        }
    }
    return 0;
}

static uint32_t judge_probe(struct guest_model *model, const uint8_t *bytes, uint32_t writable)
{
    uint32_t wrong =
        guest_model_endpoint(model, (uint32_t)field(bytes, 4, 4)) == NULL ? RIGHT(VIOMMU_NOENT) : 0;

    return wrong | (writable < model->probe_size + 4 ? RIGHT(VIOMMU_INVAL) : 0);
}

uint32_t guest_model_judge(struct guest_model *model, const uint8_t *bytes, uint32_t readable,
                           uint32_t writable)
{
    static const uint32_t sizes[] = {0, 20, 20, 36, 28, 72};
    uint32_t wrong = 0;

    if (readable == 0 || bytes[0] < VIOMMU_ATTACH || bytes[0] > VIOMMU_PROBE ||
        readable < sizes[bytes[0]] || writable < 4) {
        return RIGHT(VIOMMU_UNANSWERED);
    }
    switch (bytes[0]) {
    case VIOMMU_ATTACH:
        wrong = judge_attach(model, bytes);
        break;
    case VIOMMU_DETACH:
        wrong = judge_detach(model, bytes);
        break;
    case VIOMMU_MAP:
        wrong = judge_map(model, bytes);
        break;
    case VIOMMU_UNMAP:
        wrong = judge_unmap(model, bytes);
        break;
    default:
        wrong = judge_probe(model, bytes, writable);
        break;
    }
    return wrong != 0 ? wrong : RIGHT(VIOMMU_OK);
}

/* ---- What a request does ---- */

static struct model_domain *make_domain(struct guest_model *model, uint32_t id, bool bypass)
{
    for (unsigned int i = 0; i < MODEL_DOMAINS; i++) {
        struct model_domain *domain = &model->domains[i];

        if (!domain->used) {
            *domain = (struct model_domain){
                .used = true,
                .id = id,
                .bypass = bypass,
                .mappings = calloc(MODEL_MAPPINGS, sizeof(domain->mappings[0])),
            };
            return domain;
        }
    }
    abort();
}

static void apply_attach(struct guest_model *model, const uint8_t *bytes)
{
    const uint32_t id = (uint32_t)field(bytes, 4, 4);
    struct model_endpoint *endpoint = guest_model_endpoint(model, (uint32_t)field(bytes, 8, 4));
    struct model_domain *domain = guest_model_domain(model, id);

    if (domain == NULL) {
        domain = make_domain(model, id, (bytes[12] & VIOMMU_BYPASS) != 0);
    }
    if (endpoint->domain != domain) {
        guest_model_leave(model, endpoint);
    }
    endpoint->domain = domain;
    domain->had_device = domain->had_device || endpoint->device;
}

static void apply_unmap(struct model_domain *domain, uint64_t first, uint64_t last)
{
    unsigned int kept = 0;

    for (unsigned int i = 0; i < domain->count; i++) {
        if (!meet(first, last, domain->mappings[i].first, domain->mappings[i].last)) {
            domain->mappings[kept++] = domain->mappings[i];
        }
    }
    domain->count = kept;
}

void guest_model_apply(struct guest_model *model, const uint8_t *bytes)
{
    struct model_domain *domain;

    switch (bytes[0]) {
    case VIOMMU_ATTACH:
        apply_attach(model, bytes);
        break;
    case VIOMMU_DETACH:
        guest_model_leave(model, guest_model_endpoint(model, (uint32_t)field(bytes, 8, 4)));
        break;
    case VIOMMU_MAP:
        domain = guest_model_domain(model, (uint32_t)field(bytes, 4, 4));
        if (domain->count == MODEL_MAPPINGS) {
            abort();
        }
        domain->mappings[domain->count++] = asked(bytes);
        break;
    case VIOMMU_UNMAP:
        apply_unmap(guest_model_domain(model, (uint32_t)field(bytes, 4, 4)), field(bytes, 8, 8),
                    field(bytes, 16, 8));
        break;
    default:
        break;
    }
}
