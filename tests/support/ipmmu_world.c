/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ipmmu_world.h"

#include "ipmmu_model_connect.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define PAGE    0x1000ull
#define MIB     0x100000ull
#define GIB     0x40000000ull
#define NOWHERE 0x2000ull /* never mapped */

/* Where memory is: above what one word can say, and no address of a master. */
#define SMALL_MEMORY 0x2000000000ull
#define LARGE_MEMORY 0x4000000000ull

/* ---- Addresses ---- */

/* Pages on both sides of where a table ends, blocks, and what only the root has a leaf for. */
static const struct area {
    unsigned int first;
    unsigned int count;
    uint64_t size;
} areas[IPMMU_WORLD_AREAS] = {
    {0, 10, PAGE}, {10, 4, 2 * MIB}, {14, 1, GIB}, {15, 2, PAGE}, /* the last two there are */
};

static unsigned int area_of(unsigned int slot)
{
    unsigned int area = 0;

    while (slot >= areas[area].first + areas[area].count) {
        area++;
    }
    return area;
}

uint64_t ipmmu_world_size(unsigned int slot)
{
    return areas[area_of(slot)].size;
}

unsigned int ipmmu_world_run(unsigned int slot)
{
    const struct area *area = &areas[area_of(slot)];

    return area->first + area->count - slot;
}

uint64_t ipmmu_world_iova(const struct ipmmu_world *world, unsigned int slot)
{
    unsigned int area = area_of(slot);
    uint64_t starts[IPMMU_WORLD_AREAS] = {
        0x40200000 - 5 * PAGE,
        0x40400000,
        world->aperture_last > UINT32_MAX ? 5 * GIB : 2 * GIB,
        world->aperture_last - 2 * PAGE + 1,
    };

    return starts[area] + (slot - areas[area].first) * areas[area].size;
}

uint64_t ipmmu_world_memory(struct ipmmu_world *world, unsigned int slot, unsigned int count)
{
    uint64_t size = ipmmu_world_size(slot);
    uint64_t number = world->next_memory++;

    (void)count;
    if (size == GIB) {
        return LARGE_MEMORY + number % 512 * GIB;
    }
    /* Pages are not always at the beginning of a block. */
    return SMALL_MEMORY + number * 8 * MIB + (size == PAGE ? number % 200 * PAGE : 0);
}

void ipmmu_world_forget(struct ipmmu_world *world, uint64_t physical)
{
    world->forgotten[world->forgotten_count++ % IPMMU_WORLD_FORGOTTEN] =
        (struct ipmmu_world_memory){.mapped = true, .physical = physical};
}

/* ---- What is said ---- */

uint32_t ipmmu_world_random(struct ipmmu_world *world)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 17;
    world->random ^= world->random << 5;
    return world->random;
}

void ipmmu_world_say(const struct ipmmu_world *world, const char *format, ...)
{
    va_list arguments;

    if (!world->verbose) {
        return;
    }
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

void ipmmu_world_expect(const struct ipmmu_world *world, const char *call, int error, int expected)
{
    if (error != 0) {
        ipmmu_world_say(world, "  %s = %d", call, error);
    }
    if (error != expected) {
        fail_msg("%s = %d, not %d; %s; log: %s", call, error, expected, world->readings,
                 fake_os_last_log(world->fixture->os));
    }
}

/* ---- Who is where ---- */

bool ipmmu_world_is_root(const struct ipmmu_world *world, size_t unit)
{
    return world->units[unit].root == unit;
}

struct ipmmu_world_domain *ipmmu_world_domain_of(const struct ipmmu_world *world,
                                                 unsigned int group)
{
    return world->groups[group].is_fault_blocked ? NULL : world->groups[group].domain;
}

/* With one context all micro-TLBs of a unit are in the same place. */
static bool is_place_of(const struct ipmmu_world *world, const struct ipmmu_world_device *device,
                        size_t place)
{
    for (size_t i = 0; i < world->place_count; i++) {
        if ((device->places & (1u << i)) != 0 &&
            (i == place ||
             (world->has_one_context && world->places[i].unit == world->places[place].unit))) {
            return device->device != NULL;
        }
    }
    return false;
}

static unsigned int places_in_group(const struct ipmmu_world *world, unsigned int group)
{
    unsigned int places = 0;

    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        const struct ipmmu_world_device *device = &world->devices[i];

        if (device->device != NULL && device->group == group) {
            places |= device->places;
        }
    }
    return places;
}

void ipmmu_world_begin_moves(struct ipmmu_world *world)
{
    for (size_t i = 0; i < world->place_count; i++) {
        struct ipmmu_world_place *place = &world->places[i];
        struct piommu_instance_info info = {.atomic_switch = false};

        place->before = place->now;
        place->now = NULL;
        place->is_ours = false;
        for (size_t k = 0; k < IPMMU_WORLD_DEVICES; k++) {
            const struct ipmmu_world_device *device = &world->devices[k];

            place->is_ours =
                place->is_ours || (device->device != NULL && (device->places >> i & 1u) != 0);
            if (is_place_of(world, device, i)) {
                place->now = ipmmu_world_domain_of(world, device->group);
                place->is_moving_at_once = places_in_group(world, device->group) == 1u << i;
            }
        }
        place->is_moving = place->now != place->before;
        if (place->is_moving && place->is_moving_at_once) {
            piommu_instance_get_info(world->fixture->instances[place->unit], &info);
        }
        place->is_moving_at_once = info.atomic_switch;
    }
}

void ipmmu_world_end_moves(struct ipmmu_world *world)
{
    for (size_t i = 0; i < world->place_count; i++) {
        world->places[i].before = world->places[i].now;
        world->places[i].is_moving = false;
        world->places[i].is_moving_at_once = false;
    }
}

/* ---- What masters reach ---- */

static bool memory_permits(const struct ipmmu_world_memory *memory, bool write)
{
    return memory->mapped && (!write || memory->write);
}

static bool domain_permits(const struct ipmmu_world_domain *domain, unsigned int slot, bool write,
                           uint64_t start)
{
    const struct ipmmu_world_slot *which;

    if (domain == NULL) {
        return false;
    }
    if (domain->type == PIOMMU_DOMAIN_IDENTITY) {
        return true;
    }
    which = &domain->slots[slot];
    return (memory_permits(&which->now, write) && which->now.physical == start) ||
           (memory_permits(&which->before, write) && which->before.physical == start);
}

/* It was so before the call in progress, and will be. */
static bool domain_promises(const struct ipmmu_world *world,
                            const struct ipmmu_world_domain *domain, unsigned int slot, bool write)
{
    const struct ipmmu_world_slot *which;

    if (domain == NULL) {
        return false;
    }
    if (domain->type == PIOMMU_DOMAIN_IDENTITY) {
        return world->passes_when_off;
    }
    which = &domain->slots[slot];
    return memory_permits(&which->now, write) &&
           (!which->is_changing || memory_permits(&which->before, write));
}

static bool place_promises(const struct ipmmu_world *world, const struct ipmmu_world_place *place,
                           unsigned int slot, bool write)
{
    return place->is_ours && domain_promises(world, place->now, slot, write) &&
           (!place->is_moving ||
            (place->is_moving_at_once && domain_promises(world, place->before, slot, write)));
}

static bool is_guarded(const struct ipmmu_world *world, const struct ipmmu_world_place *place)
{
    return world->states[place->unit].is_guarded && (!world->leaves_unknown || place->was_added);
}

static void try_slot(struct ipmmu_world *world, const struct ipmmu_world_place *place,
                     unsigned int slot, bool write)
{
    uint64_t offset = ipmmu_world_random(world) % ipmmu_world_size(slot);
    uint64_t iova = ipmmu_world_iova(world, slot) + offset;
    uint64_t physical = 0;
    enum piommu_ipmmu_model_verdict verdict = piommu_ipmmu_model_dma(
        world->fixture->model, place->unit, place->micro_tlb, iova, write, &physical);

    if (verdict == PIOMMU_IPMMU_MODEL_BLOCKED) {
        if (place_promises(world, place, slot, write)) {
            fail_msg("%s %" PRIu32 " has lost %#" PRIx64 " (write: %d); %s",
                     world->units[place->unit].name, place->micro_tlb, iova, write,
                     world->readings);
        }
    } else if (!domain_permits(place->now, slot, write, physical - offset) &&
               !domain_permits(place->before, slot, write, physical - offset)) {
        fail_msg("%s %" PRIu32 " reaches %#" PRIx64 " at %#" PRIx64 " (write: %d); %s",
                 world->units[place->unit].name, place->micro_tlb, physical, iova, write,
                 world->readings);
    }
}

static bool is_identity(const struct ipmmu_world_domain *domain)
{
    return domain != NULL && domain->type == PIOMMU_DOMAIN_IDENTITY;
}

static void probe_place(struct ipmmu_world *world, const struct ipmmu_world_place *place)
{
    uint64_t physical;

    if (world->prefetches_always || ipmmu_world_random(world) % 4 == 0) {
        piommu_ipmmu_model_prefetch(world->fixture->model, place->unit, place->micro_tlb);
    }
    for (unsigned int slot = 0; slot < IPMMU_WORLD_SLOTS; slot++) {
        try_slot(world, place, slot, false);
        try_slot(world, place, slot, true);
    }
    if (piommu_ipmmu_model_dma(world->fixture->model, place->unit, place->micro_tlb, NOWHERE, false,
                               &physical) != PIOMMU_IPMMU_MODEL_BLOCKED &&
        !is_identity(place->now) && !is_identity(place->before)) {
        fail_msg("%s %" PRIu32 " reaches %#" PRIx64 ", where nothing is; %s",
                 world->units[place->unit].name, place->micro_tlb, physical, world->readings);
    }
}

void ipmmu_world_probe(struct ipmmu_world *world)
{
    for (size_t i = 0; i < world->place_count; i++) {
        if (is_guarded(world, &world->places[i])) {
            probe_place(world, &world->places[i]);
        }
    }
}

static void on_access(struct ipmmu_fixture *fixture, const struct piommu_ipmmu_model_access *access)
{
    struct ipmmu_world *world = fixture->test_data;

    /* A read changes something only by ending a FLUSH. */
    if (access->is_write || access->which == PIOMMU_IPMMU_MODEL_IMCTR) {
        ipmmu_world_probe(world);
    }
}

/* ---- Checks between calls ---- */

static void check_domain(struct ipmmu_world *world, const struct ipmmu_world_domain *domain)
{
    if (domain->type != PIOMMU_DOMAIN_PAGING) {
        return;
    }
    for (unsigned int slot = 0; slot < IPMMU_WORLD_SLOTS; slot++) {
        const struct ipmmu_world_memory *memory = &domain->slots[slot].now;
        struct piommu_translation found;

        int error = piommu_domain_lookup(domain->domain, ipmmu_world_iova(world, slot), &found);

        if ((error == 0) != memory->mapped) {
            ipmmu_world_expect(world, "lookup", error, memory->mapped ? 0 : -PIOMMU_ENOENT);
        }
        if (memory->mapped) {
            assert_true(found.physical == memory->physical);
            assert_true(((found.prot & PIOMMU_PROT_WRITE) != 0) == memory->write);
        }
    }
}

static bool any_is_stale(const struct ipmmu_world *world)
{
    for (size_t i = 0; i < world->unit_count; i++) {
        if (world->states[i].is_stale) {
            return true;
        }
    }
    return false;
}

static void check_forgotten(const struct ipmmu_world *world)
{
    for (unsigned int i = 0; i < IPMMU_WORLD_FORGOTTEN && !any_is_stale(world); i++) {
        if (world->forgotten[i].mapped &&
            piommu_ipmmu_model_leaf_reaches(world->fixture->model, world->forgotten[i].physical,
                                            PAGE)) {
            fail_msg("a TLB still leads to %#" PRIx64 "; %s", world->forgotten[i].physical,
                     world->readings);
        }
    }
}

static void check_devices(const struct ipmmu_world *world)
{
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        const struct ipmmu_world_device *device = &world->devices[i];
        struct piommu_device_info info;

        if (device->device == NULL) {
            continue;
        }
        piommu_device_get_info(device->device, &info);
        assert_ptr_equal(info.domain, world->groups[device->group].domain != NULL
                                          ? world->groups[device->group].domain->domain
                                          : NULL);
        assert_int_equal(info.fault_blocked, world->groups[device->group].is_fault_blocked);
        for (size_t k = 0; k < i; k++) {
            if (world->devices[k].device != NULL) {
                assert_int_equal(piommu_device_group(world->devices[k].device) == info.group,
                                 world->devices[k].group == device->group);
            }
        }
    }
}

void ipmmu_world_check(struct ipmmu_world *world)
{
    for (size_t i = 0; i < IPMMU_WORLD_DOMAINS; i++) {
        if (world->domains[i].domain != NULL) {
            check_domain(world, &world->domains[i]);
        }
    }
    check_devices(world);
    ipmmu_world_probe(world);
    check_forgotten(world);
    ipmmu_model_assert_clean(world->fixture->model);
}

static void check_table_is_out_of_reach(void *ctx, uint64_t physical, uint64_t size)
{
    const struct ipmmu_world *world = ctx;

    if (!any_is_stale(world) &&
        piommu_ipmmu_model_table_reaches(world->fixture->model, physical, size)) {
        fail_msg("table %#" PRIx64 " is given back, and can be reached; %s", physical,
                 world->readings);
    }
}

/* ---- What was before ---- */

/* A block of memory that nobody was granted, as tables of all formats have it. */
#define HOSTILE_BLOCKS 4u

static void store_hostile_blocks(struct fake_os *os, uint64_t table, size_t count)
{
    static const uint8_t block[8] = {0x65, 0x0f, 0, 0, 0x30};

    for (size_t i = 0; i < count; i++) {
        assert_true(fake_os_device_write(os, table + i * sizeof(block), block, sizeof(block)));
    }
}

static struct piommu_os plain;

/* Hardware finds in fresh memory what nobody wants it to find, until it was written back. */
static void *allocate_hostile(void *ctx, const struct piommu_dma_request *request,
                              uint64_t *physical)
{
    void *memory = plain.dma_alloc(ctx, request, physical);

    if (memory != NULL) {
        store_hostile_blocks(ctx, *physical, request->size / 8);
    }
    return memory;
}

static void set_register(struct ipmmu_world *world, size_t unit,
                         enum piommu_ipmmu_model_register which, unsigned int number,
                         uint32_t value)
{
    piommu_ipmmu_model_set(world->fixture->model, unit, which, number, value);
}

/* A place is on a context that leads to memory, and uses it. */
static void use_before(struct ipmmu_world *world, const struct ipmmu_world_place *place,
                       unsigned int context, uint64_t table)
{
    size_t root = world->units[place->unit].root;
    size_t units[2] = {root, place->unit};

    set_register(world, root, PIOMMU_IPMMU_MODEL_IMTTLBR0, context, (uint32_t)table);
    set_register(world, root, PIOMMU_IPMMU_MODEL_IMTTUBR0, context, (uint32_t)(table >> 32));
    set_register(world, root, PIOMMU_IPMMU_MODEL_IMTTBCR, context,
                 world->has_cache_units ? 0x80000080 : 0x80003510);
    for (size_t i = 0; i < 2; i++) {
        set_register(world, units[i], PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0);
        set_register(world, units[i], PIOMMU_IPMMU_MODEL_IMCTR, context, 1);
    }
    set_register(world, place->unit, PIOMMU_IPMMU_MODEL_IMUCTR, place->micro_tlb, context << 4 | 1);
    piommu_ipmmu_model_prefetch(world->fixture->model, place->unit, place->micro_tlb);
}

/* Firmware has had masters at work, with all contexts, and its translations are still in TLBs. */
static void live_before(struct ipmmu_world *world, unsigned int contexts)
{
    uint64_t table = fake_os_test_pages(world->fixture->os, 1);

    store_hostile_blocks(world->fixture->os, table, HOSTILE_BLOCKS);
    for (size_t i = 0; i < world->place_count; i++) {
        for (unsigned int context = 0; context < contexts; context++) {
            use_before(world, &world->places[i], context, table);
        }
    }
}

/* ---- Making one ---- */

static const char *const unit_names[IPMMU_WORLD_UNITS] = {"M", "D", "H", "P", "V"};

/* Numbers on both sides of where the registers of micro-TLBs are apart, and the last one. */
static const uint32_t micro_tlbs[3][3] = {
    [PIOMMU_IPMMU_MODEL_GEN2] = {1, 16, 31},
    [PIOMMU_IPMMU_MODEL_GEN3] = {1, 32, 47},
    [PIOMMU_IPMMU_MODEL_GEN4] = {31, 33, 63},
};

static void choose_units(struct ipmmu_world *world, enum piommu_ipmmu_model_class generation,
                         uint16_t number, bool has_erratum)
{
    world->has_cache_units = generation != PIOMMU_IPMMU_MODEL_GEN2;
    world->unit_count = world->has_cache_units ? 2 + number % 4u : 1 + number % 3u;
    for (size_t i = 0; i < world->unit_count; i++) {
        world->units[i] = (struct piommu_ipmmu_model_unit){
            .name = unit_names[i],
            .base = 0xe6280000 + i * 0x100000,
            .root = world->has_cache_units ? 0 : i,
            .has_erratum = has_erratum && i != 0,
        };
        if (world->has_cache_units && i == 0) {
            continue;
        }
        for (unsigned int k = 0; k < 3; k++) {
            world->places[world->place_count++] =
                (struct ipmmu_world_place){.unit = i, .micro_tlb = micro_tlbs[generation][k]};
        }
    }
}

/* One variant, or each respect of its own; but for what a driver has to choose, or cannot have. */
static void choose_readings(struct ipmmu_world *world, uint16_t number, bool is_mixed,
                            struct piommu_ipmmu_model_readings *readings)
{
    unsigned int count = 0;

    while (piommu_ipmmu_model_readings_variant(count, readings, &world->readings)) {
        count++;
    }
    piommu_ipmmu_model_readings_variant(number % count, readings, &world->readings);
    readings->stage2_start = PIOMMU_IPMMU_MODEL_STAGE2_START_1;
    if (is_mixed) {
        readings->s2pte_for_all = false;
    }
    world->passes_when_off = readings->disabled_micro_tlb == PIOMMU_IPMMU_MODEL_PASSES;
}

static unsigned int count_systems(void)
{
    unsigned int count = 0;

    while (ipmmu_system(count) != NULL) {
        count++;
    }
    return count;
}

static void configure_roots(struct ipmmu_world *world, const struct ipmmu_system *system,
                            bool is_mixed, uint16_t few)
{
    struct ipmmu_fixture *fixture = world->fixture;

    world->usable_contexts = system->domains;
    world->contexts = system->contexts != 0                           ? system->contexts
                      : system->generation == PIOMMU_IPMMU_MODEL_GEN4 ? 16
                                                                      : 8;
    for (size_t i = 0; i < world->unit_count; i++) {
        fixture->configs[i].unknown_ids =
            world->leaves_unknown ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
        if (!ipmmu_world_is_root(world, i)) {
            continue;
        }
        fixture->places[i].mixed_stages = is_mixed;
        if (world->has_cache_units && few % 2 != 0) {
            fixture->places[i].contexts = 4;
            world->usable_contexts = 2;
            world->contexts = 4;
        }
    }
}

/* Contexts that the library is not given are of whoever uses them: here nobody. */
static void litter(struct ipmmu_world *world, uint32_t seed)
{
    piommu_ipmmu_model_litter(world->fixture->model, seed);
    for (size_t i = 0; i < world->unit_count; i++) {
        unsigned int first = world->fixture->places[world->units[i].root].contexts;

        for (unsigned int k = first; first != 0 && k < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS; k++) {
            piommu_ipmmu_model_set(world->fixture->model, i, PIOMMU_IPMMU_MODEL_IMCTR, k, 0);
        }
    }
}

struct ipmmu_world *ipmmu_world_create(const uint16_t config[IPMMU_WORLD_NUMBERS], bool verbose)
{
    const struct ipmmu_system *system = ipmmu_system(config[0] % count_systems());
    struct ipmmu_world *world = calloc(1, sizeof(*world));
    struct piommu_ipmmu_model_readings readings;
    bool is_gen3 = system->generation == PIOMMU_IPMMU_MODEL_GEN3;
    bool is_stage1 = system->tables == PIOMMU_IPMMU_VMSA_STAGE1;
    bool has_erratum = is_gen3 && system->tables != PIOMMU_IPMMU_VMSA_STAGE2 && config[6] % 4 == 1;
    bool is_mixed = system->generation != PIOMMU_IPMMU_MODEL_GEN2 && is_stage1 && !has_erratum &&
                    config[6] % 2 != 0;
    struct ipmmu_options options = {
        .readings = &readings,
        .product = has_erratum ? 0x4f10 : 0,
        /* With one context the root tables lie below 4 GiB. */
        .memory_base = config[5] % 2 != 0 && system->contexts != 1 ? 0x880000000 : 0,
    };

    assert_non_null(world);
    world->verbose = verbose;
    world->random = 0x9e3779b9u ^ config[7];
    choose_units(world, system->generation, config[1], has_erratum);
    choose_readings(world, config[2], is_mixed, &readings);
    options.units = world->units;
    options.unit_count = world->unit_count;
    world->forgiven = system->contexts == 1 ? PIOMMU_IPMMU_MODEL_RULE_LIVE : 0;
    options.forgiven = world->forgiven;
    world->fixture = ipmmu_open(system, &options);
    world->fixture->test_data = world;
    world->fixture->on_access = on_access;
    plain = *fake_os_callbacks(world->fixture->os);
    fake_os_callbacks(world->fixture->os)->dma_alloc = allocate_hostile;
    fake_os_on_dma_free(world->fixture->os, check_table_is_out_of_reach, world);
    world->has_one_context = system->contexts == 1;
    world->has_shared = is_mixed || system->tables == PIOMMU_IPMMU_VMSA_STAGE2;
    world->leaves_unknown = config[3] % 4 == 1;
    world->prefetches_always = config[7] % 2 == 0;
    world->aperture_last = is_stage1                                       ? 0xffffffff
                           : system->tables == PIOMMU_IPMMU_VMSA_STAGE1_64 ? 0x7fffffffff
                                                                           : 0xffffffffff;
    configure_roots(world, system, is_mixed, config[4]);
    if (config[4] % 4 > 1) {
        litter(world, config[4]);
    } else if (config[3] % 2 != 0 && !has_erratum) {
        live_before(world, world->contexts);
    }
    for (size_t i = 0; i < world->unit_count; i++) {
        piommu_ipmmu_model_set_flush_polls(world->fixture->model, i, config[5] / 2 % 4u);
    }
    ipmmu_world_say(
        world, "%s, %zu units%s%s%s%s%s, %u contexts to use, memory at %#" PRIx64 "; %s",
        system->name, world->unit_count, is_mixed ? ", mixed stages" : "",
        has_erratum ? ", erratum" : "", world->leaves_unknown ? ", unknown IDs are left" : "",
        config[4] % 4 > 1 ? ", litter" : "", config[3] % 2 != 0 ? ", used before" : "",
        world->usable_contexts, options.memory_base, world->readings);
    return world;
}

/* ---- Taking it down ---- */

static void remove_devices(struct ipmmu_world *world)
{
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        struct ipmmu_world_device *device = &world->devices[i];

        if (device->device != NULL) {
            world->groups[device->group] = (struct ipmmu_world_group){.domain = NULL};
            ipmmu_world_begin_moves(world);
            ipmmu_world_say(world, "device %zu goes", i);
            assert_int_equal(piommu_group_detach(piommu_device_group(device->device)), 0);
            assert_int_equal(piommu_device_remove(device->device), 0);
            device->device = NULL;
            ipmmu_world_end_moves(world);
        }
    }
}

static void destroy_domains(struct ipmmu_world *world)
{
    for (size_t i = 0; i < IPMMU_WORLD_DOMAINS; i++) {
        struct ipmmu_world_domain *domain = &world->domains[i];

        if (domain->domain != NULL) {
            ipmmu_world_say(world, "domain %zu goes", i);
            assert_int_equal(piommu_domain_destroy(domain->domain), 0);
            if (domain->table != NULL) {
                piommu_pgtable_release(domain->table, &domain->gather);
                piommu_pgtable_destroy(domain->table);
            }
        }
    }
}

void ipmmu_world_destroy(struct ipmmu_world *world)
{
    remove_devices(world);
    destroy_domains(world);
    for (size_t i = world->unit_count; i-- > 0;) {
        world->states[i].is_guarded = false;
        if (world->states[i].state == IPMMU_WORLD_SUSPENDED) {
            piommu_ipmmu_model_power(world->fixture->model, i, false);
        }
        if (world->fixture->instances[i] != NULL) {
            ipmmu_world_say(world, "%s goes", world->units[i].name);
            assert_int_equal(piommu_instance_destroy(world->fixture->instances[i]), 0);
            world->fixture->instances[i] = NULL;
        }
    }
    fake_os_on_dma_free(world->fixture->os, NULL, NULL);
    ipmmu_close_empty(world->fixture);
    free(world);
}
