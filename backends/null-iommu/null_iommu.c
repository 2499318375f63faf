/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A backend without hardware. It takes requests, and keeps no more than what backend.h asks for: an
 * object for each unit, ID and domain. Where hardware would be told something, a comment says what.
 */

#include "../../lib/base/host.h"

#include <piommu/null-iommu.h>

#define GRANULE        4096u
#define MIN_INPUT_BITS 12u
#define INPUT_BITS     48u

struct null_unit {
    struct piommu_host host;
};

/* Memory for them is needed to tell them apart: handles are compared. */
struct null_endpoint {
    uint32_t id;
};

struct null_domain {
    const void *identity;
};

/* ---- Units ---- */

static void describe(unsigned int input_bits, struct piommu_backend_info *info)
{
    info->aperture.last = UINT64_MAX >> (64 - input_bits);
    info->leaf_sizes = GRANULE;
    info->prot = PIOMMU_PROT_ALL & ~(piommu_prot)PIOMMU_PROT_SOFTWARE_MASK;
    info->write_only = true;
    info->identity = true;
    info->atomic_switch = true;
}

static int probe(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void *parent, void **result, struct piommu_backend_info *info)
{
    const struct piommu_null_iommu_config *wanted = backend_config;
    unsigned int input_bits =
        wanted != NULL && wanted->input_bits != 0 ? wanted->input_bits : INPUT_BITS;
    struct null_unit *unit;

    (void)instance; /* for fault reports */
    (void)config;   /* name, policy for unknown IDs, timeout */
    if (parent != NULL || input_bits < MIN_INPUT_BITS || input_bits > 64) {
        return -PIOMMU_EINVAL;
    }
    unit = piommu_host_alloc_(host, sizeof(*unit));
    if (unit == NULL) {
        return -PIOMMU_ENOMEM;
    }
    unit->host = host;
    /* Here the hardware is found and started, so that unknown IDs are blocked. */
    describe(input_bits, info);
    *result = unit;
    return 0;
}

static int remove_unit(void *handle)
{
    struct null_unit *unit = handle;

    /* Here the hardware is stopped; if that fails, nothing is freed. */
    piommu_host_free_(unit->host, unit, sizeof(*unit));
    return 0;
}

/* All endpoints are blocked, by whatever always works: a reset, or one register. */
static int block_all(void *unit)
{
    (void)unit;
    return 0;
}

/* The hardware is as probe has left it, and all endpoints that were added are blocked. */
static int resume(void *unit)
{
    (void)unit;
    return 0;
}

static int service(void *unit, unsigned int budget)
{
    (void)unit;
    (void)budget; /* no more reports than this are handled */
    return 0;
}

/* ---- Endpoints and domains ---- */

static int add_endpoint(void *handle, uint32_t id, struct piommu_endpoint_facts *facts,
                        void **result)
{
    const struct null_unit *unit = handle;
    struct null_endpoint *endpoint = piommu_host_alloc_(unit->host, sizeof(*endpoint));

    (void)facts; /* for reserved regions, and the number of a group */
    if (endpoint == NULL) {
        return -PIOMMU_ENOMEM;
    }
    endpoint->id = id;
    *result = endpoint;
    return 0;
}

static void release_endpoint(void *handle, void *endpoint)
{
    const struct null_unit *unit = handle;

    piommu_host_free_(unit->host, endpoint, sizeof(struct null_endpoint));
}

static int domain_create(void *handle, const struct piommu_backend_domain *wanted, void **result)
{
    const struct null_unit *unit = handle;
    struct null_domain *domain = piommu_host_alloc_(unit->host, sizeof(*domain));

    if (domain == NULL) {
        return -PIOMMU_ENOMEM;
    }
    domain->identity = wanted->identity;
    *result = domain;
    return 0;
}

static int domain_destroy(void *handle, void *domain)
{
    const struct null_unit *unit = handle;

    piommu_host_free_(unit->host, domain, sizeof(struct null_domain));
    return 0;
}

/* From here on the endpoint's accesses go through the domain's translations. */
static int attach(void *unit, void *endpoint, void *domain)
{
    (void)unit;
    (void)endpoint;
    (void)domain;
    return 0;
}

/* From here on the endpoint reaches nothing. */
static int block(void *unit, void *endpoint)
{
    (void)unit;
    (void)endpoint;
    return 0;
}

/* ---- Requests ---- */

static int map(void *unit, void *domain, struct piommu_mapping_source *source)
{
    struct piommu_backend_mapping mapping;

    (void)unit;
    (void)domain;
    while (source->next(source, &mapping)) {
        /* Here one mapping is told to the hardware. */
    }
    return 0;
}

static int unmap(void *unit, void *domain, struct piommu_range_source *source)
{
    struct piommu_range range;

    (void)unit;
    (void)domain;
    while (source->next(source, &range)) {
        /* Here the hardware is told to forget, and at the end it is waited for. */
    }
    return 0;
}

static const struct piommu_backend backend = {
    .size = sizeof(struct piommu_backend),
    .name = "null-iommu",
    .kind = PIOMMU_BACKEND_REQUESTS,
    .needs = PIOMMU_OS_NEED_LOCK,
    .probe = probe,
    .remove = remove_unit,
    .stop = block_all,
    .add_endpoint = add_endpoint,
    .release_endpoint = release_endpoint,
    .domain_create = domain_create,
    .domain_destroy = domain_destroy,
    .attach = attach,
    .block = block,
    .map = map,
    .unmap = unmap,
    .service = service,
    .suspend = block_all,
    .resume = resume,
};

const struct piommu_backend *piommu_null_iommu_backend(void)
{
    return &backend;
}
