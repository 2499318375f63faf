/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "failing_world.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const uint64_t world_addresses[WORLD_ADDRESSES] = {
    0x0,        0x10000,    0x11000,    0x20000,    0x300000,    0x500000,    0x501000,
    0x8000000,  0x8001000,  0x40000000, 0x40001000, 0x40002000,  0x401ff000,  0x80000000,
    0x80001000, 0x80002000, 0x80003000, 0x80200000, 0x900000000, 0x980000000,
};

void world_broken(const struct failing_world *world, const char *format, ...)
{
    char text[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fail_msg("%s: %s", world->title != NULL ? world->title : "world", text);
    abort();
}

/* ---- Callbacks ---- */

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct failing_world *world = cookie;

    (void)fault;
    world->faults++;
    return world->fault_answer;
}

static struct piommu_domain *choose_domain(void *cookie, const struct piommu_device *device)
{
    struct failing_world *world = cookie;

    assert_non_null(device);
    world->chosen++;
    return world->choice;
}

static void instance_ready(void *cookie, struct piommu_instance *instance, int error)
{
    struct failing_world *world = cookie;

    assert_non_null(instance);
    world->instances_ready++;
    world->instance_error = error;
}

static void device_ready(void *cookie, struct piommu_device *device, int error)
{
    struct failing_world *world = cookie;

    assert_non_null(device);
    world->devices_ready++;
    world->device_error = error;
}

static void on_event(void *cookie, const struct piommu_event *event)
{
    struct failing_world *world = cookie;

    assert_in_range(event->kind, 0, PIOMMU_EVENT_FAULT_BLOCK);
    world->events[event->kind]++;
    world->event_errors[event->kind] = event->error;
}

/* ---- What devices reach ---- */

static void look_at_reach(struct failing_world *world, struct world_reach *reach)
{
    for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
        for (unsigned int id = 0; id < WORLD_IDS; id++) {
            for (unsigned int i = 0; i < WORLD_ADDRESSES; i++) {
                for (unsigned int write = 0; write < 2; write++) {
                    uint64_t *found = &reach->physical[unit][id][i][write];

                    if (!mock_reaches(world->mocks[unit], WORLD_FIRST_ID + id, world_addresses[i],
                                      write != 0, found)) {
                        *found = WORLD_NOTHING;
                    }
                }
            }
        }
    }
}

static void on_backend_call(void *ctx)
{
    struct failing_world *world = ctx;
    static struct world_reach now;
    const uint64_t *found = &now.physical[0][0][0][0];

    if (world->allowed[0] == NULL) {
        return;
    }
    look_at_reach(world, &now);
    world->probes++;
    for (size_t i = 0; i < sizeof(now) / sizeof(*found); i++) {
        if (found[i] != WORLD_NOTHING &&
            found[i] != (&world->allowed[0]->physical[0][0][0][0])[i] &&
            found[i] != (&world->allowed[1]->physical[0][0][0][0])[i]) {
            size_t address = i / 2 % WORLD_ADDRESSES;
            size_t id = i / 2 / WORLD_ADDRESSES % WORLD_IDS;
            size_t unit = i / 2 / WORLD_ADDRESSES / WORLD_IDS;

            world_broken(world,
                         "meanwhile ID %zu of unit %zu %s %#" PRIx64 " and reaches %#" PRIx64,
                         WORLD_FIRST_ID + id, unit, i % 2 != 0 ? "writes" : "reads",
                         world_addresses[address], found[i]);
        }
    }
}

/* Nothing may walk tables that are given back. */
static void on_dma_free(void *ctx, uint64_t physical, uint64_t size)
{
    struct failing_world *world = ctx;

    for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
        if (world->options.kind == PIOMMU_BACKEND_TABLES &&
            mock_walks(world->mocks[unit], physical, size)) {
            world_broken(world, "unit %u can still walk a table that is given back", unit);
        }
    }
}

/* ---- Building ---- */

struct failing_world *world_open(const struct world_options *options)
{
    /* There are many worlds, and all the memory in one piece is slow to come by with sanitizers. */
    const struct fake_os_options os = {.scattered = true};
    struct failing_world *world = calloc(1, sizeof(*world));
    struct piommu_context_config config = {.cookie = world,
                                           .fault = on_fault,
                                           .choose_domain = choose_domain,
                                           .instance_ready = instance_ready,
                                           .device_ready = device_ready,
                                           .trace = on_event};

    world->options = *options;
    world->os = fake_os_create(&os);
    world->calls = failing_calls_create(world->os);
    for (unsigned int i = 0; i < WORLD_UNITS; i++) {
        world->mocks[i] = i != 0 && options->family ? mock_create_child(world->mocks[0])
                                                    : mock_create(world->os, options->kind);
        mock_set_atomic_switch(world->mocks[i], !options->blocks_between);
        mock_set_block_now(world->mocks[i], options->block_now);
        mock_observe(world->mocks[i], on_backend_call, world);
    }
    fake_os_on_dma_free(world->os, on_dma_free, world);
    for (unsigned int i = 0; i < WORLD_DOMAINS; i++) {
        piommu_gather_init(&world->gathers[i]);
    }
    assert_int_equal(piommu_context_create(fake_os_host(world->os), &config, &world->context), 0);
    for (unsigned int i = 0; i < options->units; i++) {
        assert_int_equal(world_start(world, i, i != 0 && options->related ? WORLD_KEY(0) : 0,
                                     &world->instances[i]),
                         0);
    }
    return world;
}

int world_start(struct failing_world *world, unsigned int unit, uint64_t parent_key,
                struct piommu_instance **instance)
{
    struct piommu_instance_config config = {.name = "unit",
                                            .owner = world->mocks[unit],
                                            .key = WORLD_KEY(unit),
                                            .parent_key = parent_key,
                                            .fault_records = 4,
                                            .fault_limit = 100};

    return piommu_instance_create(
        world->context, failing_calls_backend(world->calls, world->options.kind),
        failing_calls_unit(world->calls, unit, world->mocks[unit]), &config, instance);
}

int world_try_add(struct failing_world *world, unsigned int units, uint32_t first, unsigned int ids,
                  const struct piommu_device_config *more, struct piommu_device **device)
{
    struct piommu_device_config config = {.name = "device"};
    struct piommu_device_id list[WORLD_UNITS * WORLD_IDS];

    if (more != NULL) {
        config = *more;
    }
    config.ids = list;
    config.id_count = 0;
    for (unsigned int id = 0; id < ids; id++) {
        for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
            if ((units & 1u << unit) != 0) {
                list[config.id_count++] = (struct piommu_device_id){
                    .instance = world->instances[unit], .key = WORLD_KEY(unit), .id = first + id};
            }
        }
    }
    return piommu_device_add(world->context, &config, device);
}

void world_add(struct failing_world *world, unsigned int device, unsigned int units, uint32_t first,
               unsigned int ids)
{
    assert_int_equal(world_try_add(world, units, first, ids, NULL, &world->devices[device]), 0);
}

int world_try_domain(struct failing_world *world, enum piommu_domain_type type, unsigned int units,
                     const struct piommu_domain_config *more, struct piommu_domain **domain)
{
    struct piommu_domain_config config = {.name = "domain"};
    struct piommu_instance *instances[WORLD_UNITS];

    if (more != NULL) {
        config = *more;
    }
    config.type = type;
    config.instances = instances;
    config.instance_count = 0;
    for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
        if ((units & 1u << unit) != 0) {
            instances[config.instance_count++] = world->instances[unit];
        }
    }
    return piommu_domain_create(&config, domain);
}

void world_domain(struct failing_world *world, unsigned int domain, enum piommu_domain_type type,
                  unsigned int units)
{
    assert_int_equal(world_try_domain(world, type, units, NULL, &world->domains[domain]), 0);
}

void world_map(struct failing_world *world, unsigned int domain, uint64_t iova, uint64_t physical,
               uint64_t size, piommu_prot prot)
{
    assert_int_equal(piommu_domain_map(world->domains[domain], iova, physical, size, prot), 0);
}

void world_attach(struct failing_world *world, unsigned int device, unsigned int domain)
{
    assert_int_equal(
        piommu_group_attach(piommu_device_group(world->devices[device]), world->domains[domain]),
        0);
}

/* Ends the test if a step of taking down does not succeed. */
static void must(const struct failing_world *world, int error, const char *what, unsigned int index)
{
    if (error != 0) {
        world_broken(world, "taking down: %s %u: %d", what, index, error);
    }
}

void world_close(struct failing_world *world)
{
    world->allowed[0] = NULL;
    failing_calls_end(world->calls);
    for (unsigned int i = 0; i < WORLD_UNITS; i++) {
        mock_refuse_stop(world->mocks[i], false);
        mock_never_answer(world->mocks[i], false);
    }
    for (unsigned int i = 0; i < WORLD_DEVICES; i++) {
        if (world->devices[i] != NULL) {
            must(world, piommu_group_detach(piommu_device_group(world->devices[i])),
                 "detaching device", i);
        }
    }
    for (unsigned int i = 0; i < WORLD_DOMAINS; i++) {
        if (world->domains[i] != NULL) {
            if (world->gathers[i].pending) {
                must(world, piommu_domain_sync(world->domains[i], &world->gathers[i]),
                     "the last sync of domain", i);
            }
            must(world, piommu_domain_destroy(world->domains[i]), "destroying domain", i);
        }
    }
    for (unsigned int i = 0; i < WORLD_DEVICES; i++) {
        must(world, piommu_device_remove(world->devices[i]), "removing device", i);
    }
    for (unsigned int i = WORLD_UNITS; i-- > 0;) {
        must(world, piommu_instance_destroy(world->instances[i]), "destroying instance", i);
    }
    must(world, piommu_context_destroy(world->context), "destroying context", 0);
    failing_calls_destroy(world->calls);
    if (fake_os_bytes_outstanding(world->os) != 0) {
        world_broken(world, "%" PRIu64 " bytes were not given back",
                     fake_os_bytes_outstanding(world->os));
    }
    fake_os_destroy(world->os);
    for (unsigned int i = WORLD_UNITS; i-- > 0;) {
        mock_destroy(world->mocks[i]);
    }
    free(world);
}

/* ---- Taking the state down ---- */

static void add_line(struct world_snapshot *snapshot, enum world_subject subject,
                     unsigned int index, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void add_line(struct world_snapshot *snapshot, enum world_subject subject,
                     unsigned int index, const char *format, ...)
{
    struct world_line *line = &snapshot->lines[snapshot->count++];
    va_list arguments;

    assert_true(snapshot->count < WORLD_MAX_LINES);
    line->subject = subject;
    line->index = index;
    va_start(arguments, format);
    assert_true((size_t)vsnprintf(line->text, sizeof(line->text), format, arguments) <
                sizeof(line->text));
    va_end(arguments);
}

static unsigned int unit_of(const struct failing_world *world,
                            const struct piommu_instance *instance)
{
    unsigned int unit = 0;

    while (unit < WORLD_UNITS && (instance == NULL || world->instances[unit] != instance)) {
        unit++;
    }
    return unit;
}

/* Of NULL, and of one that is not of this world: the number of all. */
static unsigned int number_of_domain(const struct failing_world *world,
                                     const struct piommu_domain *domain)
{
    unsigned int number = 0;

    while (number < WORLD_DOMAINS && (domain == NULL || world->domains[number] != domain)) {
        number++;
    }
    assert_true(domain == NULL || number < WORLD_DOMAINS);
    return number;
}

static void look_at_instance(struct failing_world *world, unsigned int unit,
                             struct world_snapshot *snapshot)
{
    struct piommu_instance_info info;

    memset(&info, 0, sizeof(info));
    piommu_instance_get_info(world->instances[unit], &info);
    add_line(snapshot, WORLD_INSTANCE, unit, "unit %u: state %d%s", unit, (int)info.state,
             info.failed ? ", failed" : "");
    assert_true(info.failed == (info.state == PIOMMU_INSTANCE_FAILED));
    assert_ptr_equal(info.owner, world->mocks[unit]);
    if (info.state != PIOMMU_INSTANCE_WAITING) {
        add_line(snapshot, WORLD_INSTANCE, unit,
                 "unit %u: %#" PRIx64 " to %#" PRIx64 ", granule %#" PRIx64 ", leaves %#" PRIx64
                 ", prot %#x",
                 unit, info.aperture.first, info.aperture.last, info.granule, info.leaf_sizes,
                 info.prot);
    }
}

/* Groups have no names: each is called by its first device. */
static unsigned int number_of_group(const struct failing_world *world,
                                    const struct piommu_group *group)
{
    unsigned int number = 0;

    while (world->devices[number] == NULL || piommu_device_group(world->devices[number]) != group) {
        number++;
        assert_true(number < WORLD_DEVICES);
    }
    return number;
}

static void look_at_device(struct failing_world *world, unsigned int number,
                           struct world_snapshot *snapshot)
{
    struct piommu_device *device = world->devices[number];
    struct piommu_device_info info;
    struct piommu_id_info id;
    struct piommu_reserved_region region;
    size_t i;

    memset(&info, 0, sizeof(info));
    piommu_device_get_info(device, &info);
    assert_ptr_equal(info.group, piommu_device_group(device));
    add_line(snapshot, WORLD_DEVICE, number,
             "device %u: %s%s%sgroup of device %u, in domain %u, %zu IDs", number,
             info.waiting ? "waiting, " : "", info.untrusted ? "untrusted, " : "",
             info.fault_blocked ? "blocked by a fault, " : "", number_of_group(world, info.group),
             number_of_domain(world, info.domain), info.id_count);
    for (i = 0; piommu_device_get_id(device, i, &id) == 0; i++) {
        add_line(snapshot, WORLD_ID, number, "device %u: ID %u of unit %u (key %" PRIu64 ") is %d",
                 number, id.id, unit_of(world, id.instance), id.key, (int)id.state);
    }
    assert_int_equal(i, info.id_count);
    for (i = 0; piommu_device_reserved_region(device, i, &region) == 0; i++) {
        add_line(snapshot, WORLD_DEVICE, number,
                 "device %u: %#" PRIx64 " to %#" PRIx64 " is reserved, kind %d", number,
                 region.range.first, region.range.last, (int)region.kind);
    }
}

static bool is_paging(enum piommu_domain_type type)
{
    return type == PIOMMU_DOMAIN_PAGING || type == PIOMMU_DOMAIN_DMA ||
           type == PIOMMU_DOMAIN_DEFERRED;
}

/* Leaves that go on in input and output, with the same size and permissions, are one line. */
static void look_at_mappings(struct failing_world *world, unsigned int number,
                             struct world_snapshot *snapshot)
{
    struct piommu_domain *domain = world->domains[number];
    struct piommu_translation first = {0};
    struct piommu_translation leaf;
    uint64_t start = 0;
    uint64_t size = 0;
    uint64_t found;

    for (;;) {
        bool any = piommu_domain_next(domain, start + size, UINT64_MAX, &found, &leaf) == 0;

        if (any && size != 0 && found == start + size && leaf.physical == first.physical + size &&
            leaf.leaf_size == first.leaf_size && leaf.prot == first.prot) {
            size += leaf.leaf_size;
            continue;
        }
        if (size != 0) {
            add_line(snapshot, WORLD_MAPPINGS, number,
                     "domain %u: %#" PRIx64 " leads to %#" PRIx64 ", %#" PRIx64
                     " bytes, in leaves of %#" PRIx64 ", prot %#x",
                     number, start, first.physical, size, first.leaf_size, first.prot);
        }
        if (!any) {
            return;
        }
        start = found;
        size = leaf.leaf_size;
        first = leaf;
    }
}

static void look_at_domain(struct failing_world *world, unsigned int number,
                           struct world_snapshot *snapshot)
{
    struct piommu_domain *domain = world->domains[number];
    const struct piommu_gather *gather = &world->gathers[number];
    struct piommu_domain_info info;
    struct piommu_domain_statistics statistics;

    memset(&info, 0, sizeof(info));
    memset(&statistics, 0, sizeof(statistics));
    piommu_domain_get_info(domain, &info);
    piommu_domain_get_statistics(domain, &statistics);
    add_line(snapshot, WORLD_DOMAIN, number, "domain %u: type %d%s%s%s%s%s", number, (int)info.type,
             info.populated ? ", populated" : "", info.write_only ? ", write-only" : "",
             info.live_protect ? ", live protect" : "", info.live_cut ? ", live cut" : "",
             info.live_replace ? ", live replace" : "");
    add_line(snapshot, WORLD_DOMAIN, number,
             "domain %u: %" PRIu64 " maps, %" PRIu64 " unmaps, %" PRIu64 " syncs, %" PRIu64
             " bytes",
             number, statistics.maps, statistics.unmaps, statistics.syncs, statistics.mapped);
    add_line(snapshot, WORLD_ENDPOINTS, number, "domain %u: %u endpoints", number,
             statistics.endpoints);
    if (is_paging(info.type)) {
        add_line(snapshot, WORLD_DOMAIN, number,
                 "domain %u: %#" PRIx64 " to %#" PRIx64 ", granule %#" PRIx64 ", leaves %#" PRIx64
                 ", prot %#x",
                 number, info.aperture.first, info.aperture.last, info.granule, info.leaf_sizes,
                 info.prot);
        look_at_mappings(world, number, snapshot);
    }
    if (gather->pending) {
        add_line(snapshot, WORLD_GATHER, number, "domain %u: something is not synced", number);
    }
}

void world_look(struct failing_world *world, struct world_snapshot *snapshot)
{
    memset(snapshot, 0, sizeof(*snapshot));
    for (unsigned int i = 0; i < WORLD_UNITS; i++) {
        if (world->instances[i] != NULL) {
            look_at_instance(world, i, snapshot);
        }
    }
    for (unsigned int i = 0; i < WORLD_DEVICES; i++) {
        if (world->devices[i] != NULL) {
            look_at_device(world, i, snapshot);
        }
    }
    for (unsigned int i = 0; i < WORLD_DOMAINS; i++) {
        if (world->domains[i] != NULL) {
            look_at_domain(world, i, snapshot);
        }
    }
    look_at_reach(world, &snapshot->reach);
    for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
        for (unsigned int id = 0; id < WORLD_IDS; id++) {
            for (unsigned int i = 0; i < WORLD_ADDRESSES; i++) {
                const uint64_t *reached = snapshot->reach.physical[unit][id][i];

                if (reached[0] != WORLD_NOTHING || reached[1] != WORLD_NOTHING) {
                    add_line(snapshot, WORLD_REACH_UNIT, unit,
                             "unit %u: ID %u at %#" PRIx64 " reads %#" PRIx64 ", writes %#" PRIx64,
                             unit, WORLD_FIRST_ID + id, world_addresses[i], reached[0], reached[1]);
                }
            }
        }
    }
    snapshot->bytes = fake_os_bytes_outstanding(world->os);
}

/* The next line from *at on that is not skipped; NULL: none. */
static const struct world_line *next_line(const struct world_snapshot *snapshot,
                                          const struct world_skip *skip, unsigned int *at)
{
    while (*at < snapshot->count) {
        const struct world_line *line = &snapshot->lines[(*at)++];

        if (skip == NULL || (skip->index[line->subject] & 1u << line->index) == 0) {
            return line;
        }
    }
    return NULL;
}

void world_compare(const struct failing_world *world, const struct world_snapshot *expected,
                   const struct world_snapshot *found, const struct world_skip *skip,
                   const char *what)
{
    unsigned int e = 0;
    unsigned int f = 0;

    for (;;) {
        const struct world_line *left = next_line(expected, skip, &e);
        const struct world_line *right = next_line(found, skip, &f);

        if (left == NULL && right == NULL) {
            return;
        }
        if (left == NULL || right == NULL || strcmp(left->text, right->text) != 0) {
            world_broken(world, "%s: expected \"%s\", found \"%s\"", what,
                         left != NULL ? left->text : "(nothing more)",
                         right != NULL ? right->text : "(nothing more)");
        }
    }
}

/* ---- Whether all fits together ---- */

/* What a domain grants at an address. Both WORLD_NOTHING: nothing. */
static void granted(struct piommu_domain *domain, uint64_t address, uint64_t *read, uint64_t *write)
{
    struct piommu_domain_info info;
    struct piommu_translation leaf;

    piommu_domain_get_info(domain, &info);
    *read = WORLD_NOTHING;
    *write = WORLD_NOTHING;
    if (info.type == PIOMMU_DOMAIN_IDENTITY) {
        *read = address;
        *write = address;
    } else if (is_paging(info.type) && piommu_domain_lookup(domain, address, &leaf) == 0) {
        *read = (leaf.prot & PIOMMU_PROT_READ) != 0 ? leaf.physical : WORLD_NOTHING;
        *write = (leaf.prot & PIOMMU_PROT_WRITE) != 0 ? leaf.physical : WORLD_NOTHING;
    }
}

static void check_attached_id(struct failing_world *world, const struct piommu_id_info *id,
                              unsigned int unit, struct piommu_domain *domain)
{
    const struct piommu_gather *gather = &world->gathers[number_of_domain(world, domain)];
    struct piommu_domain_info info;

    piommu_domain_get_info(domain, &info);
    if (info.type == PIOMMU_DOMAIN_SHARED) {
        return; /* the table is not the library's */
    }
    for (unsigned int i = 0; i < WORLD_ADDRESSES; i++) {
        for (unsigned int write = 0; write < 2; write++) {
            uint64_t address = world_addresses[i];
            uint64_t reached;
            uint64_t grants[2];

            if (gather->pending && address >= gather->range.first &&
                address <= gather->range.last) {
                continue;
            }
            granted(domain, address, &grants[0], &grants[1]);
            if (!mock_reaches(world->mocks[unit], id->id, address, write != 0, &reached)) {
                reached = WORLD_NOTHING;
            }
            if (reached != grants[write]) {
                world_broken(world,
                             "ID %u of unit %u at %#" PRIx64 " %s %#" PRIx64
                             ", and its domain says %#" PRIx64,
                             id->id, unit, address, write != 0 ? "writes" : "reads", reached,
                             grants[write]);
            }
        }
    }
}

static bool reaches_anything(struct failing_world *world, unsigned int unit, uint32_t id)
{
    uint64_t physical;

    for (unsigned int i = 0; i < WORLD_ADDRESSES; i++) {
        if (mock_reaches(world->mocks[unit], id, world_addresses[i], false, &physical) ||
            mock_reaches(world->mocks[unit], id, world_addresses[i], true, &physical)) {
            return true;
        }
    }
    return false;
}

static bool is_blocked(const struct piommu_domain *domain)
{
    struct piommu_domain_info info;

    piommu_domain_get_info(domain, &info);
    return info.type == PIOMMU_DOMAIN_BLOCKED;
}

/* failed: the device may be in its domain only because a unit cannot be asked any more. */
static void check_id(struct failing_world *world, const struct piommu_device_info *device,
                     const struct piommu_id_info *id, bool failed)
{
    unsigned int unit = unit_of(world, id->instance);
    struct piommu_instance_info instance;

    if (unit == WORLD_UNITS) {
        assert_int_equal(id->state, PIOMMU_ID_WAITING);
        assert_true(device->waiting);
        return;
    }
    piommu_instance_get_info(id->instance, &instance);
    if (id->state == PIOMMU_ID_ATTACHED) {
        if (device->domain == NULL) {
            world_broken(world, "ID %u of unit %u is attached, its device is not", id->id, unit);
        }
        if (instance.state == PIOMMU_INSTANCE_FAILED) {
            world_broken(world, "ID %u of unit %u is attached, and the unit has failed", id->id,
                         unit);
        }
        if (instance.state == PIOMMU_INSTANCE_RUNNING) {
            check_attached_id(world, id, unit, device->domain);
        }
    } else if (id->state == PIOMMU_ID_DOUBTFUL) {
        if (instance.state != PIOMMU_INSTANCE_FAILED) {
            world_broken(world, "ID %u of unit %u is in doubt, and the unit has not failed", id->id,
                         unit);
        }
    } else if (reaches_anything(world, unit, id->id)) {
        world_broken(world, "ID %u of unit %u is in state %d and reaches something", id->id, unit,
                     (int)id->state);
    } else if (device->domain != NULL && !is_blocked(device->domain) && !device->fault_blocked &&
               !failed && instance.state == PIOMMU_INSTANCE_RUNNING) {
        world_broken(world, "ID %u of unit %u is in state %d, and its device in a domain", id->id,
                     unit, (int)id->state);
    }
}

/* Whether a unit has failed on which a device of the group is: then its IDs may be blocked. */
static bool group_has_failed(struct failing_world *world, const struct piommu_group *group)
{
    struct piommu_instance_info info;
    struct piommu_id_info id;

    for (unsigned int i = 0; i < WORLD_DEVICES; i++) {
        if (world->devices[i] == NULL || piommu_device_group(world->devices[i]) != group) {
            continue;
        }
        for (size_t j = 0; piommu_device_get_id(world->devices[i], j, &id) == 0; j++) {
            if (id.instance != NULL) {
                piommu_instance_get_info(id.instance, &info);
                if (info.failed) {
                    return true;
                }
            }
        }
    }
    return false;
}

void world_check(struct failing_world *world)
{
    for (unsigned int i = 0; i < WORLD_DEVICES; i++) {
        struct piommu_device_info device;
        struct piommu_id_info id;

        if (world->devices[i] == NULL) {
            continue;
        }
        piommu_device_get_info(world->devices[i], &device);
        for (size_t j = 0; piommu_device_get_id(world->devices[i], j, &id) == 0; j++) {
            check_id(world, &device, &id, group_has_failed(world, device.group));
        }
    }
}
