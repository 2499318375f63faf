/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ipmmu_fixture.h"

#include "ipmmu_model_connect.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct ipmmu_system systems[] = {
    {"Gen2, one context", PIOMMU_IPMMU_MODEL_GEN2, "renesas,ipmmu-vmsa", PIOMMU_IPMMU_VMSA_STAGE1,
     1, 0, 0x4520},
    {"Gen2, four contexts", PIOMMU_IPMMU_MODEL_GEN2, "renesas,ipmmu-vmsa", PIOMMU_IPMMU_VMSA_STAGE1,
     4, 3, 0x4520},
    {"Gen3, stage 1", PIOMMU_IPMMU_MODEL_GEN3, "renesas,ipmmu-r8a7795", PIOMMU_IPMMU_VMSA_STAGE1, 0,
     6, 0x4f30},
    {"Gen3, 64-bit stage 1", PIOMMU_IPMMU_MODEL_GEN3, "renesas,ipmmu-r8a7795",
     PIOMMU_IPMMU_VMSA_STAGE1_64, 0, 6, 0x4f30},
    {"Gen3, stage 2", PIOMMU_IPMMU_MODEL_GEN3, "renesas,ipmmu-r8a7795", PIOMMU_IPMMU_VMSA_STAGE2, 0,
     6, 0x4f30},
    {"Gen4, stage 1", PIOMMU_IPMMU_MODEL_GEN4, "renesas,ipmmu-r8a779f0", PIOMMU_IPMMU_VMSA_STAGE1,
     0, 14, 0x5a00},
    {"Gen4, 64-bit stage 1", PIOMMU_IPMMU_MODEL_GEN4, "renesas,ipmmu-r8a779f0",
     PIOMMU_IPMMU_VMSA_STAGE1_64, 0, 14, 0x5a00},
    {"Gen4, stage 2", PIOMMU_IPMMU_MODEL_GEN4, "renesas,ipmmu-r8a779f0", PIOMMU_IPMMU_VMSA_STAGE2,
     0, 14, 0x5a00},
};

static const struct piommu_ipmmu_model_unit cached_units[IPMMU_UNITS] = {
    {.name = "M", .base = 0xe67b0000, .root = IPMMU_ROOT},
    {.name = "D", .base = 0xe7740000, .root = IPMMU_ROOT},
    {.name = "H", .base = 0xe6570000, .root = IPMMU_ROOT},
};

static const struct piommu_ipmmu_model_unit gen2_units[IPMMU_UNITS] = {
    {.name = "M", .base = 0xe6280000, .root = 0},
    {.name = "D", .base = 0xe6740000, .root = 1},
    {.name = "H", .base = 0xec680000, .root = 2},
};

const struct ipmmu_system *ipmmu_system(size_t number)
{
    return number < COUNT(systems) ? &systems[number] : NULL;
}

const struct ipmmu_system *ipmmu_system_named(const char *name)
{
    for (size_t i = 0; i < COUNT(systems); i++) {
        if (strcmp(systems[i].name, name) == 0) {
            return &systems[i];
        }
    }
    fail_msg("there is no system \"%s\"", name);
    return NULL;
}

void ipmmu_run(void **state)
{
    const struct ipmmu_test *test = *state;

    for (size_t i = 0; i < COUNT(systems); i++) {
        if (test->kinds == IPMMU_ALL || systems[i].generation != PIOMMU_IPMMU_MODEL_GEN2) {
            print_message("%s\n", systems[i].name);
            test->body(&systems[i]);
        }
    }
}

/* ---- what masters reach ---- */

static bool may_reach(const struct ipmmu_master *master, size_t page, bool write, uint64_t physical)
{
    for (size_t i = 0; i < 2; i++) {
        const struct ipmmu_granted *granted = &master->granted[i][page];

        if (granted->mapped && granted->physical == physical && (!write || granted->write)) {
            return true;
        }
    }
    return master->passes;
}

static void probe_place(struct ipmmu_fixture *fixture, const struct ipmmu_master *master,
                        const struct ipmmu_place *place)
{
    if (fixture->probes_prefetch) {
        piommu_ipmmu_model_prefetch(fixture->model, place->unit, place->micro_tlb);
    }
    for (size_t i = 0; i < 2 * (size_t)IPMMU_PAGES; i++) {
        size_t page = i % IPMMU_PAGES;
        bool write = i >= IPMMU_PAGES;
        uint64_t iova = IPMMU_IOVA + page * IPMMU_PAGE;
        uint64_t physical = 0;

        fixture->probes++;
        if (piommu_ipmmu_model_dma(fixture->model, place->unit, place->micro_tlb, iova, write,
                                   &physical) != PIOMMU_IPMMU_MODEL_BLOCKED &&
            !may_reach(master, page, write, physical)) {
            fail_msg("master %s (unit %s, micro-TLB %" PRIu32 ") reaches %#" PRIx64 " at %#" PRIx64,
                     master->name, fixture->units[place->unit].name, place->micro_tlb, physical,
                     iova);
        }
    }
}

void ipmmu_probe(struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->master_count; i++) {
        const struct ipmmu_master *master = &fixture->masters[i];

        for (size_t k = 0; k < master->place_count; k++) {
            probe_place(fixture, master, &master->places[k]);
        }
    }
}

static void observe(void *ctx, const struct piommu_ipmmu_model_access *access)
{
    struct ipmmu_fixture *fixture = ctx;

    if (fixture->probing && access->is_write) {
        ipmmu_probe(fixture);
    }
    if (fixture->on_access != NULL) {
        fixture->on_access(fixture, access);
    }
}

void ipmmu_grant(struct ipmmu_fixture *fixture, size_t master, size_t page, uint64_t physical,
                 piommu_prot prot)
{
    fixture->masters[master].granted[1][page] = (struct ipmmu_granted){
        .mapped = prot != 0,
        .write = (prot & PIOMMU_PROT_WRITE) != 0,
        .physical = physical,
    };
}

void ipmmu_revoke(struct ipmmu_fixture *fixture, size_t master)
{
    for (size_t page = 0; page < IPMMU_PAGES; page++) {
        ipmmu_grant(fixture, master, page, 0, 0);
    }
}

void ipmmu_settle(struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->master_count; i++) {
        struct ipmmu_master *master = &fixture->masters[i];

        memcpy(master->granted[0], master->granted[1], sizeof(master->granted[0]));
    }
}

/* How many of a master's IDs get somewhere; `to_any`: wherever that is. */
static size_t places_that_reach(struct ipmmu_fixture *fixture, const struct ipmmu_master *master,
                                uint64_t iova, bool write, uint64_t physical, bool to_any)
{
    size_t count = 0;

    for (size_t i = 0; i < master->place_count; i++) {
        uint64_t found = 0;

        count += piommu_ipmmu_model_dma(fixture->model, master->places[i].unit,
                                        master->places[i].micro_tlb, iova, write,
                                        &found) != PIOMMU_IPMMU_MODEL_BLOCKED &&
                 (to_any || found == physical);
    }
    return count;
}

bool ipmmu_reaches(struct ipmmu_fixture *fixture, size_t master, uint64_t iova, bool write,
                   uint64_t physical)
{
    const struct ipmmu_master *which = &fixture->masters[master];

    return places_that_reach(fixture, which, iova, write, physical, false) == which->place_count;
}

bool ipmmu_reaches_anything(struct ipmmu_fixture *fixture, size_t master, uint64_t iova, bool write)
{
    return places_that_reach(fixture, &fixture->masters[master], iova, write, 0, true) != 0;
}

void ipmmu_assert_granted(struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->master_count; i++) {
        for (size_t page = 0; page < IPMMU_PAGES; page++) {
            const struct ipmmu_granted *granted = &fixture->masters[i].granted[1][page];

            if (granted->mapped && !ipmmu_reaches(fixture, i, IPMMU_IOVA + page * IPMMU_PAGE,
                                                  granted->write, granted->physical)) {
                fail_msg("master %s does not reach page %zu", fixture->masters[i].name, page);
            }
        }
    }
}

/* ---- the system ---- */

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct ipmmu_fixture *fixture = cookie;

    if (fixture->fault_count < IPMMU_MAX_FAULTS) {
        fixture->faults[fixture->fault_count] = *fault;
    }
    fixture->fault_count++;
    return fixture->answer;
}

/*
 * With one context a group can only be blocked, and let go, by a change of the table below the
 * enabled context: whatever else there is would let DMA pass. What that does is modelled.
 */
static uint32_t rules_to_break(const struct ipmmu_system *system)
{
    return system->contexts == 1 ? PIOMMU_IPMMU_MODEL_RULE_LIVE : 0;
}

static void make_model(struct ipmmu_fixture *fixture, const struct ipmmu_options *options)
{
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = fixture->system->generation,
        .units = fixture->units,
        .unit_count = fixture->unit_count,
        .product = options->product != 0 ? options->product : fixture->system->product,
        .readings = options->readings,
        .forgiven = options->forgiven | rules_to_break(fixture->system),
    };

    fixture->model = piommu_ipmmu_model_create(
        &parameters,
        (struct piommu_walker_memory){.read64 = fake_os_device_read64, .ctx = fixture->os});
    assert_non_null(fixture->model);
    ipmmu_model_connect(fixture->model, fixture->os);
    piommu_ipmmu_model_observe(fixture->model, observe, fixture);
}

static void describe_unit(struct ipmmu_fixture *fixture, size_t unit)
{
    bool is_root = ipmmu_is_root(fixture, unit);

    fixture->places[unit] = (struct piommu_ipmmu_vmsa_config){
        .compatible = fixture->system->compatible,
        .registers = fixture->units[unit].base,
        .tables = is_root ? fixture->system->tables : PIOMMU_IPMMU_VMSA_STAGE1,
        .contexts = is_root ? fixture->system->contexts : 0,
        .product_register = piommu_ipmmu_model_product_address(fixture->model),
    };
    fixture->configs[unit] = (struct piommu_instance_config){
        .name = fixture->units[unit].name,
        .owner = &fixture->instances[unit],
        .key = 1 + unit,
        .parent_key = is_root ? 0 : 1 + fixture->units[unit].root,
    };
}

struct ipmmu_fixture *ipmmu_open(const struct ipmmu_system *system,
                                 const struct ipmmu_options *options)
{
    static const struct ipmmu_options defaults;
    const struct ipmmu_options *chosen = options != NULL ? options : &defaults;
    const struct fake_os_options os = {.scattered = chosen->scattered,
                                       .non_coherent = true,
                                       .non_coherent_buffers = chosen->non_coherent_buffers,
                                       .seed = 7,
                                       .memory_base = chosen->memory_base};
    struct ipmmu_fixture *fixture = calloc(1, sizeof(*fixture));
    struct piommu_context_config config = {.cookie = fixture, .fault = on_fault};

    assert_non_null(fixture);
    fixture->system = system;
    fixture->unit_count = chosen->units != NULL ? chosen->unit_count : IPMMU_UNITS;
    assert_in_range(fixture->unit_count, 1, IPMMU_MAX_UNITS);
    fixture->units = system->generation == PIOMMU_IPMMU_MODEL_GEN2 ? gen2_units : cached_units;
    if (chosen->units != NULL) {
        fixture->units = chosen->units;
    }
    fixture->os = fake_os_create(&os);
    make_model(fixture, chosen);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        describe_unit(fixture, i);
    }
    assert_int_equal(piommu_context_create(fake_os_host(fixture->os), &config, &fixture->context),
                     0);
    return fixture;
}

bool ipmmu_is_root(const struct ipmmu_fixture *fixture, size_t unit)
{
    return fixture->units[unit].root == unit;
}

int ipmmu_try_unit(struct ipmmu_fixture *fixture, size_t unit)
{
    return piommu_instance_create(fixture->context, piommu_ipmmu_vmsa_backend(),
                                  &fixture->places[unit], &fixture->configs[unit],
                                  &fixture->instances[unit]);
}

void ipmmu_start_unit(struct ipmmu_fixture *fixture, size_t unit)
{
    assert_int_equal(ipmmu_try_unit(fixture, unit), 0);
}

void ipmmu_start(struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->unit_count; i++) {
        size_t unit = (i + fixture->unit_count - 1) % fixture->unit_count;

        if (fixture->instances[unit] == NULL) {
            ipmmu_start_unit(fixture, unit);
        }
    }
    fixture->probing = true;
}

void ipmmu_start_with_masters(struct ipmmu_fixture *fixture)
{
    bool is_gen2 = fixture->system->generation == PIOMMU_IPMMU_MODEL_GEN2;

    ipmmu_start(fixture);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, 3);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, is_gen2 ? 31 : 34);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_2, 2);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_2, 5);
    (void)ipmmu_add_domain(fixture);
    (void)ipmmu_add_domain(fixture);
}

size_t ipmmu_wire(struct ipmmu_fixture *fixture, const struct ipmmu_place *places, size_t count)
{
    size_t number = fixture->master_count++;
    struct ipmmu_master *master = &fixture->masters[number];

    assert_in_range(number, 0, IPMMU_MAX_MASTERS - 1);
    assert_in_range(count, 1, IPMMU_MAX_IDS);
    memcpy(master->places, places, count * sizeof(*places));
    master->place_count = count;
    (void)snprintf(master->name, sizeof(master->name), "%u", (unsigned int)number);
    return number;
}

int ipmmu_try_device(struct ipmmu_fixture *fixture, size_t master)
{
    struct ipmmu_master *which = &fixture->masters[master];
    struct piommu_device_id ids[IPMMU_MAX_IDS];
    const struct piommu_device_config config = {
        .ids = ids, .id_count = which->place_count, .name = which->name, .owner = which};

    for (size_t i = 0; i < which->place_count; i++) {
        ids[i] = (struct piommu_device_id){.instance = fixture->instances[which->places[i].unit],
                                           .key = fixture->configs[which->places[i].unit].key,
                                           .id = which->places[i].micro_tlb};
    }
    return piommu_device_add(fixture->context, &config, &which->device);
}

size_t ipmmu_add_master(struct ipmmu_fixture *fixture, size_t unit, uint32_t micro_tlb)
{
    const struct ipmmu_place place = {unit, micro_tlb};
    size_t number = ipmmu_wire(fixture, &place, 1);

    assert_int_equal(ipmmu_try_device(fixture, number), 0);
    return number;
}

void ipmmu_remove_device(struct ipmmu_fixture *fixture, size_t master)
{
    assert_int_equal(piommu_device_remove(fixture->masters[master].device), 0);
    fixture->masters[master].device = NULL;
}

int ipmmu_try_domain(struct ipmmu_fixture *fixture, enum piommu_domain_type type,
                     struct piommu_domain **domain)
{
    struct piommu_instance *instances[IPMMU_MAX_UNITS];
    struct piommu_domain_config config = {.type = type, .instances = instances, .owner = domain};

    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (!ipmmu_is_root(fixture, i) || fixture->system->generation == PIOMMU_IPMMU_MODEL_GEN2) {
            instances[config.instance_count++] = fixture->instances[i];
        }
    }
    return piommu_domain_create(&config, domain);
}

struct piommu_domain *ipmmu_add_domain(struct ipmmu_fixture *fixture)
{
    size_t number = fixture->domain_count++;

    assert_in_range(number, 0, IPMMU_MAX_DOMAINS - 1);
    assert_int_equal(ipmmu_try_domain(fixture, PIOMMU_DOMAIN_PAGING, &fixture->domains[number]), 0);
    return fixture->domains[number];
}

void ipmmu_destroy_domain(struct ipmmu_fixture *fixture, size_t number)
{
    assert_int_equal(piommu_domain_destroy(fixture->domains[number]), 0);
    fixture->domains[number] = NULL;
}

struct piommu_pgtable *ipmmu_table_of_cpu(struct ipmmu_fixture *fixture,
                                          struct piommu_shared_table *shared)
{
    static const struct piommu_pgtable_config config = {.format = PIOMMU_ARM_64_LPAE_S2,
                                                        .granule = 4096,
                                                        .input_bits = 40,
                                                        .output_bits = 40,
                                                        .flags = PIOMMU_PGTABLE_CONCATENATE};
    struct piommu_pgtable_info info;
    struct piommu_pgtable *table;

    assert_int_equal(piommu_pgtable_create(fake_os_host(fixture->os), &config, &table), 0);
    piommu_pgtable_get_info(table, &info);
    *shared = (struct piommu_shared_table){.config = &config, .root = info.root_physical};
    return table;
}

void ipmmu_attach(struct ipmmu_fixture *fixture, size_t master, struct piommu_domain *domain)
{
    assert_int_equal(
        piommu_group_attach(piommu_device_group(fixture->masters[master].device), domain), 0);
}

void ipmmu_detach(struct ipmmu_fixture *fixture, size_t master)
{
    ipmmu_revoke(fixture, master);
    assert_int_equal(piommu_group_detach(piommu_device_group(fixture->masters[master].device)), 0);
    ipmmu_settle(fixture);
}

void ipmmu_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, iova, size, &gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
}

/* ---- looking ---- */

uint64_t ipmmu_numbers_written(const struct ipmmu_fixture *fixture, size_t unit,
                               enum piommu_ipmmu_model_register which)
{
    uint64_t numbers = 0;

    for (size_t i = 0; i < piommu_ipmmu_model_recorded(fixture->model); i++) {
        const struct piommu_ipmmu_model_access *access =
            piommu_ipmmu_model_recorded_access(fixture->model, i);

        if (access->is_write && access->unit == unit && access->which == which) {
            numbers |= UINT64_C(1) << access->number;
        }
    }
    return numbers;
}

enum piommu_instance_state ipmmu_state(const struct ipmmu_fixture *fixture, size_t unit)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(fixture->instances[unit], &info);
    return info.state;
}

/* ---- power ---- */

static void suspend_some(struct ipmmu_fixture *fixture, bool roots)
{
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (ipmmu_is_root(fixture, i) == roots) {
            assert_int_equal(piommu_instance_suspend(fixture->instances[i]), 0);
            piommu_ipmmu_model_power(fixture->model, i, false);
        }
    }
}

static void resume_some(struct ipmmu_fixture *fixture, bool roots)
{
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (ipmmu_is_root(fixture, i) == roots) {
            assert_int_equal(piommu_instance_resume(fixture->instances[i]), 0);
        }
    }
}

void ipmmu_suspend(struct ipmmu_fixture *fixture)
{
    suspend_some(fixture, false);
    fixture->probing = false; /* the guarantee begins again when resume returns */
    suspend_some(fixture, true);
}

void ipmmu_resume_powered(struct ipmmu_fixture *fixture)
{
    resume_some(fixture, true);
    resume_some(fixture, false);
    fixture->probing = true;
}

void ipmmu_resume(struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->unit_count; i++) {
        piommu_ipmmu_model_power(fixture->model, i, true);
    }
    ipmmu_resume_powered(fixture);
}

/* ---- the rest ---- */

void ipmmu_drain(struct ipmmu_fixture *fixture)
{
    bool probing = fixture->probing;

    fixture->probing = false;
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (ipmmu_is_root(fixture, i)) {
            assert_true(piommu_instance_service(fixture->instances[i], 1000) >= 0);
            assert_false(piommu_ipmmu_model_interrupt(fixture->model, i));
        }
    }
    fixture->fault_count = 0;
    fixture->probing = probing;
}

static void destroy_units(struct ipmmu_fixture *fixture, bool roots)
{
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (ipmmu_is_root(fixture, i) == roots) {
            assert_int_equal(piommu_instance_destroy(fixture->instances[i]), 0);
            fixture->instances[i] = NULL;
        }
    }
}

void ipmmu_take_down(struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->master_count; i++) {
        if (fixture->masters[i].device != NULL) {
            ipmmu_detach(fixture, i);
            ipmmu_remove_device(fixture, i);
        }
    }
    for (size_t i = 0; i < fixture->domain_count; i++) {
        ipmmu_destroy_domain(fixture, i);
    }
    fixture->domain_count = 0;
    fixture->probing = false;
    destroy_units(fixture, false);
    destroy_units(fixture, true);
}

void ipmmu_close(struct ipmmu_fixture *fixture)
{
    ipmmu_take_down(fixture);
    ipmmu_close_empty(fixture);
}

void ipmmu_close_empty(struct ipmmu_fixture *fixture)
{
    assert_int_equal(piommu_context_destroy(fixture->context), 0);
    ipmmu_model_assert_clean(fixture->model);
    if (fixture->loses_memory) {
        fake_os_destroy_with_leaks(fixture->os);
    } else {
        fake_os_destroy(fixture->os);
    }
    piommu_ipmmu_model_destroy(fixture->model);
    free(fixture);
}
