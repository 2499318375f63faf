/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What the core adds to a page table: a domain with a device behind an IOMMU that does nothing, but
 * has tables like those of the first shape.
 */

#include <string.h>

#include <piommu/backend.h>
#include <piommu/piommu.h>

#include <stdlib.h>

#include "report.h"
#include "rows.h"

#define CALLS 65536u

static char nothing; /* an object of the backend, of which none has anything in it */

static int null_probe(struct piommu_host host, struct piommu_instance *instance,
                      const struct piommu_instance_config *config, const void *backend_config,
                      void *parent, void **unit, struct piommu_backend_info *info)
{
    (void)host;
    (void)instance;
    (void)config;
    (void)backend_config;
    (void)parent;
    *unit = &nothing;
    info->aperture.last = ((uint64_t)1 << 48) - 1;
    info->leaf_sizes = 0x40201000;
    info->prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    info->table = (struct piommu_pgtable_config){
        .format = PIOMMU_ARM_64_LPAE_S1,
        .granule = 4096,
        .input_bits = 48,
        .output_bits = 48,
        .coherent_walk = true,
        .empty_tables_kept = UINT16_MAX,
    };
    return 0;
}

static int null_unit(void *unit)
{
    (void)unit;
    return 0;
}

static int null_add_endpoint(void *unit, uint32_t id, struct piommu_endpoint_facts *facts,
                             void **endpoint)
{
    (void)unit;
    (void)id;
    (void)facts;
    *endpoint = &nothing;
    return 0;
}

static void null_release_endpoint(void *unit, void *endpoint)
{
    (void)unit;
    (void)endpoint;
}

static int null_domain_create(void *unit, const struct piommu_backend_domain *request,
                              void **domain)
{
    (void)unit;
    (void)request;
    *domain = &nothing;
    return 0;
}

static int null_attach(void *unit, void *endpoint, void *domain)
{
    (void)unit;
    (void)endpoint;
    (void)domain;
    return 0;
}

/* For block, and for domain_destroy. */
static int null_both(void *unit, void *object)
{
    (void)unit;
    (void)object;
    return 0;
}

static int null_invalidate(void *unit, void *domain, struct piommu_range range, bool tables)
{
    (void)unit;
    (void)domain;
    (void)range;
    (void)tables;
    return 0;
}

static int null_service(void *unit, unsigned int budget)
{
    (void)unit;
    (void)budget;
    return 0;
}

const struct piommu_backend null_backend = {
    .size = sizeof(null_backend),
    .name = "null",
    .kind = PIOMMU_BACKEND_TABLES,
    .probe = null_probe,
    .remove = null_unit,
    .stop = null_unit,
    .add_endpoint = null_add_endpoint,
    .release_endpoint = null_release_endpoint,
    .domain_create = null_domain_create,
    .domain_destroy = null_both,
    .attach = null_attach,
    .block = null_both,
    .invalidate = null_invalidate,
    .service = null_service,
};

bool core_open(struct core *core, const struct piommu_os *os, const struct piommu_backend *backend,
               const void *where)
{
    struct piommu_device_id id = {.id = 1};
    struct piommu_device_config device = {.ids = &id, .id_count = 1};
    struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_PAGING};

    memset(core, 0, sizeof(*core));
    if (piommu_context_create((struct piommu_host){.os = os}, NULL, &core->context) != 0 ||
        piommu_instance_create(core->context, backend, where, NULL, &core->instance) != 0) {
        return false;
    }
    id.instance = core->instance;
    domain.instances = &core->instance;
    domain.instance_count = 1;
    return piommu_device_add(core->context, &device, &core->device) == 0 &&
           piommu_domain_create(&domain, &core->domain) == 0 &&
           piommu_device_attach(core->device, core->domain) == 0;
}

void core_close(struct core *core)
{
    if (piommu_device_detach(core->device) != 0 || piommu_domain_destroy(core->domain) != 0 ||
        piommu_device_remove(core->device) != 0 || piommu_instance_destroy(core->instance) != 0 ||
        piommu_context_destroy(core->context) != 0) {
        wrong("the core does not come to its end");
    }
}

static bool core_map(struct core *core, uint64_t iova, uint64_t physical, uint64_t page)
{
    return piommu_domain_map(core->domain, iova, physical, page,
                             PIOMMU_PROT_READ | PIOMMU_PROT_WRITE) == 0;
}

static bool core_unmap(struct core *core, uint64_t iova, uint64_t page)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    return piommu_domain_unmap(core->domain, iova, page, &gather, NULL) == 0 &&
           piommu_domain_sync(core->domain, &gather) == 0;
}

/* The core as an implementation, for counting instructions: one page a call. */
static void *adapter_create(const struct shape *shape, const struct usage *usage)
{
    struct core *core = malloc(sizeof(*core));

    (void)shape;
    (void)usage;
    if (core != NULL && !core_open(core, &ours_os, &null_backend, NULL)) {
        wrong("the core does not start");
    }
    return core;
}

static void adapter_destroy(void *core)
{
    core_close(core);
    free(core);
}

static bool adapter_map(void *core, uint64_t iova, uint64_t physical, uint64_t page, size_t count)
{
    return count == 1 && core_map(core, iova, physical, page);
}

static bool adapter_unmap(void *core, uint64_t iova, uint64_t page, size_t count)
{
    return count == 1 && core_unmap(core, iova, page);
}

static uint64_t adapter_lookup(void *core, uint64_t iova)
{
    struct core *object = core;
    struct piommu_translation result;

    return piommu_domain_lookup(object->domain, iova, &result) == 0 ? result.physical : UINT64_MAX;
}

const struct implementation over_core = {
    .name = "core",
    .create = adapter_create,
    .destroy = adapter_destroy,
    .map = adapter_map,
    .unmap = adapter_unmap,
    .lookup = adapter_lookup,
    .absent = UINT64_MAX,
};

/* Maps and unmaps all pages, one by one. */
static void run(struct core *core, void *table, size_t calls, double *map, double *unmap)
{
    const uint64_t page = shape_granule(&shapes[0]);
    bool good = true;
    double begin = now();

    for (size_t i = 0; i < calls; i++) {
        uint64_t iova = BENCH_BASE + i * page;

        good &= table != NULL ? ours.map(table, iova, iova + BENCH_OFFSET, page, 1)
                              : core_map(core, iova, iova + BENCH_OFFSET, page);
    }
    *map = (now() - begin) / (double)calls;
    begin = now();
    for (size_t i = 0; i < calls; i++) {
        good &= table != NULL ? ours.unmap(table, BENCH_BASE + i * page, page, 1)
                              : core_unmap(core, BENCH_BASE + i * page, page);
    }
    *unmap = (now() - begin) / (double)calls;
    if (!good) {
        wrong("core: a map or an unmap failed");
    }
}

void core_measure(const struct effort *effort)
{
    const struct usage usage = {.coherent_walk = true, .empties_kept = UINT16_MAX};
    size_t calls = CALLS / effort->divisor;
    struct samples maps[IMPLEMENTATIONS] = {0};
    struct samples unmaps[IMPLEMENTATIONS] = {0};
    void *table = ours.create(&shapes[0], &usage);
    struct core core;

    if (!core_open(&core, &ours_os, &null_backend, NULL)) {
        wrong("the core does not start");
        return;
    }
    /* The limit is what the page table takes alone. The first turn makes the tables. */
    for (unsigned int repetition = 0; repetition <= effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < 2; i++) {
            bool alone = (repetition + i) % 2 == 0;
            double map;
            double unmap;

            run(&core, alone ? table : NULL, calls, &map, &unmap);
            if (repetition != 0) {
                samples_add(&maps[alone ? LIMIT : OURS], map);
                samples_add(&unmaps[alone ? LIMIT : OURS], unmap);
            }
        }
    }
    core_close(&core);
    ours.destroy(table);
    report_add("core", "map_1", UNIT_CALL, maps);
    report_add("core", "unmap_1", UNIT_CALL, unmaps);
}
