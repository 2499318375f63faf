/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ipmmu_calls.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- Units ---- */

static const char *unit_name(const struct ipmmu_world *world, size_t unit)
{
    return world->units[unit].name;
}

/* Units that hang below a root; of a cache unit: none. */
static bool has_children(const struct ipmmu_world *world, size_t unit, enum ipmmu_world_state state)
{
    for (size_t i = 0; i < world->unit_count; i++) {
        if (i != unit && world->units[i].root == unit && world->states[i].state == state) {
            return true;
        }
    }
    return false;
}

/* Unknown IDs that are left as they are need not be blocked any more. */
static void forget_added(struct ipmmu_world *world, size_t unit)
{
    for (size_t i = 0; i < world->place_count; i++) {
        if (world->places[i].unit == unit) {
            world->places[i].was_added = false;
        }
    }
}

static void run_unit(struct ipmmu_world *world, size_t unit)
{
    world->states[unit] =
        (struct ipmmu_world_unit){.state = IPMMU_WORLD_RUNNING, .is_guarded = true};
}

void ipmmu_call_start(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    size_t unit = raw[0] % world->unit_count;
    size_t root = world->units[unit].root;
    int error;

    if (world->states[unit].state != IPMMU_WORLD_ABSENT) {
        return;
    }
    piommu_ipmmu_model_power(world->fixture->model, unit, true);
    forget_added(world, unit);
    ipmmu_world_say(world, "start(%s)", unit_name(world, unit));
    /* A root is started before its cache units, which may hold something of the same context. */
    piommu_ipmmu_model_forgive(world->fixture->model,
                               world->forgiven | PIOMMU_IPMMU_MODEL_RULE_REUSE);
    error = ipmmu_try_unit(world->fixture, unit);
    piommu_ipmmu_model_forgive(world->fixture->model, world->forgiven);
    ipmmu_world_expect(world, "start", error,
                       world->states[root].state == IPMMU_WORLD_SUSPENDED ? -PIOMMU_EBUSY : 0);
    if (error != 0) {
        world->fixture->instances[unit] = NULL;
    } else if (unit != root && world->states[root].state != IPMMU_WORLD_RUNNING) {
        world->states[unit].state = IPMMU_WORLD_WAITING;
    } else {
        run_unit(world, unit);
        for (size_t i = 0; i < world->unit_count; i++) {
            if (world->units[i].root == unit && world->states[i].state == IPMMU_WORLD_WAITING) {
                run_unit(world, i);
            }
        }
    }
}

static bool is_used_by_device(const struct ipmmu_world *world, size_t unit)
{
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        for (size_t k = 0; k < world->place_count && world->devices[i].device != NULL; k++) {
            if ((world->devices[i].places & (1u << k)) != 0 && world->places[k].unit == unit) {
                return true;
            }
        }
    }
    return false;
}

static bool is_used_by_domain(const struct ipmmu_world *world, size_t unit, bool perhaps)
{
    for (size_t i = 0; i < IPMMU_WORLD_DOMAINS; i++) {
        const struct ipmmu_world_domain *domain = &world->domains[i];

        if (domain->domain != NULL &&
            ((perhaps ? domain->used_by : domain->created_for) & (1u << unit)) != 0) {
            return true;
        }
    }
    return false;
}

void ipmmu_call_stop(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    size_t unit = raw[0] % world->unit_count;
    struct ipmmu_world_unit before = world->states[unit];
    bool is_busy = is_used_by_device(world, unit) || is_used_by_domain(world, unit, false) ||
                   has_children(world, unit, IPMMU_WORLD_WAITING) ||
                   has_children(world, unit, IPMMU_WORLD_RUNNING) ||
                   has_children(world, unit, IPMMU_WORLD_SUSPENDED);
    int error;

    /* Whether a domain still needs a unit that its devices have left is not said. */
    if (before.state == IPMMU_WORLD_ABSENT || (!is_busy && is_used_by_domain(world, unit, true))) {
        return;
    }
    world->states[unit].is_guarded = is_busy && before.is_guarded;
    world->states[unit].is_stale = true;
    if (!is_busy && before.state == IPMMU_WORLD_SUSPENDED) {
        /* It is not touched, so it must not be on its contexts any more. */
        piommu_ipmmu_model_power(world->fixture->model, unit, false);
    }
    ipmmu_world_say(world, "stop(%s)", unit_name(world, unit));
    error = piommu_instance_destroy(world->fixture->instances[unit]);
    ipmmu_world_expect(world, "stop", error, is_busy ? -PIOMMU_EBUSY : 0);
    if (is_busy) {
        world->states[unit] = before;
        return;
    }
    world->fixture->instances[unit] = NULL;
    world->states[unit].state = IPMMU_WORLD_ABSENT;
    if (raw[1] % 2 == 0) {
        piommu_ipmmu_model_power(world->fixture->model, unit, false);
        world->states[unit].is_stale = false;
    }
}

void ipmmu_call_suspend(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    size_t unit = raw[0] % world->unit_count;
    struct ipmmu_world_unit before = world->states[unit];
    bool is_busy =
        before.state == IPMMU_WORLD_WAITING || has_children(world, unit, IPMMU_WORLD_RUNNING);
    int error;

    if (before.state == IPMMU_WORLD_ABSENT || before.state == IPMMU_WORLD_SUSPENDED) {
        return;
    }
    if (!is_busy) {
        world->states[unit] =
            (struct ipmmu_world_unit){.state = IPMMU_WORLD_SUSPENDED, .is_stale = true};
    }
    ipmmu_world_say(world, "suspend(%s, loses power: %d)", unit_name(world, unit), raw[1] % 4 != 1);
    error = piommu_instance_suspend(world->fixture->instances[unit]);
    ipmmu_world_expect(world, "suspend", error, is_busy ? -PIOMMU_EBUSY : 0);
    if (!is_busy && raw[1] % 4 != 1) {
        piommu_ipmmu_model_power(world->fixture->model, unit, false);
        world->states[unit].is_stale = false;
    }
    if (!is_busy) {
        forget_added(world, unit);
    }
}

/* Devices that are there are blocked or attached again, whatever the policy says of others. */
static void note_added(struct ipmmu_world *world, size_t unit)
{
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        for (size_t k = 0; k < world->place_count && world->devices[i].device != NULL; k++) {
            if ((world->devices[i].places & (1u << k)) != 0 && world->places[k].unit == unit) {
                world->places[k].was_added = true;
            }
        }
    }
}

void ipmmu_call_resume(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    size_t unit = raw[0] % world->unit_count;
    bool is_busy = world->states[world->units[unit].root].state == IPMMU_WORLD_SUSPENDED &&
                   !ipmmu_world_is_root(world, unit);
    int error;

    if (world->states[unit].state != IPMMU_WORLD_SUSPENDED) {
        return;
    }
    piommu_ipmmu_model_power(world->fixture->model, unit, true);
    /* Where the power was not lost micro-TLBs are on, but their masters are quiet. */
    piommu_ipmmu_model_forgive(world->fixture->model,
                               world->forgiven | PIOMMU_IPMMU_MODEL_RULE_DISABLED);
    ipmmu_world_say(world, "resume(%s)", unit_name(world, unit));
    error = piommu_instance_resume(world->fixture->instances[unit]);
    piommu_ipmmu_model_forgive(world->fixture->model, world->forgiven);
    ipmmu_world_expect(world, "resume", error, is_busy ? -PIOMMU_EBUSY : 0);
    if (!is_busy) {
        run_unit(world, unit);
        note_added(world, unit);
    }
}

/* ---- Devices ---- */

/* Bit i of each group that a device with these places would join. */
static unsigned int groups_to_join(const struct ipmmu_world *world, unsigned int places)
{
    unsigned int units = 0;
    unsigned int groups = 0;

    for (size_t i = 0; i < world->place_count && world->has_one_context; i++) {
        units |= (places >> i & 1u) << world->places[i].unit;
    }
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        const struct ipmmu_world_device *device = &world->devices[i];
        bool joins = (device->places & places) != 0;

        for (size_t k = 0; k < world->place_count; k++) {
            joins = joins || ((device->places & (1u << k)) != 0 &&
                              (units & (1u << world->places[k].unit)) != 0);
        }
        if (device->device != NULL && joins) {
            groups |= 1u << device->group;
        }
    }
    return groups;
}

static unsigned int choose_places(const struct ipmmu_world *world,
                                  const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    unsigned int places = 1u << raw[1] % world->place_count;

    if (raw[2] % 4 == 1) {
        places |= 1u << raw[2] / 4 % world->place_count;
    }
    if (raw[2] % 16 == 1) {
        places |= 1u << raw[3] % world->place_count;
    }
    return places;
}

/* A number that no group has, if this device is in none. */
static unsigned int unused_group(const struct ipmmu_world *world,
                                 const struct ipmmu_world_device *alone)
{
    unsigned int used = 0;
    unsigned int group = 0;

    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        const struct ipmmu_world_device *device = &world->devices[i];

        used |= device != alone && device->device != NULL ? 1u << device->group : 0;
    }
    while ((used & (1u << group)) != 0) {
        group++;
    }
    return group;
}

static void join_groups(struct ipmmu_world *world, struct ipmmu_world_device *added,
                        unsigned int joined)
{
    added->group = unused_group(world, added);
    world->groups[added->group] = (struct ipmmu_world_group){.domain = NULL};
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        if (world->devices[i].device != NULL && (joined & (1u << world->devices[i].group)) != 0) {
            world->devices[i].group = added->group;
        }
    }
    for (size_t i = 0; i < world->place_count; i++) {
        world->places[i].was_added = world->places[i].was_added || (added->places >> i & 1u) != 0;
    }
}

void ipmmu_call_add(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct ipmmu_world_device *device = &world->devices[raw[0] % IPMMU_WORLD_DEVICES];
    struct piommu_device_id ids[IPMMU_WORLD_DEVICE_PLACES];
    struct piommu_device_config config = {.ids = ids, .owner = device};
    unsigned int places = choose_places(world, raw);
    unsigned int joined = groups_to_join(world, places);
    bool is_busy = false;
    int error;

    if (device->device != NULL) {
        return;
    }
    for (size_t i = 0; i < world->place_count; i++) {
        enum ipmmu_world_state state = world->states[world->places[i].unit].state;

        if ((places & (1u << i)) == 0) {
            continue;
        }
        if (state == IPMMU_WORLD_ABSENT || state == IPMMU_WORLD_WAITING) {
            return;
        }
        is_busy = is_busy || state == IPMMU_WORLD_SUSPENDED;
        ids[config.id_count++] =
            (struct piommu_device_id){.instance = world->fixture->instances[world->places[i].unit],
                                      .id = world->places[i].micro_tlb};
    }
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        is_busy = is_busy || ((joined & (1u << i)) != 0 && world->groups[i].domain != NULL);
    }
    ipmmu_world_say(world, "add(device %u, places %#x)", raw[0] % IPMMU_WORLD_DEVICES, places);
    error = piommu_device_add(world->fixture->context, &config, &device->device);
    ipmmu_world_expect(world, "add", error, is_busy ? -PIOMMU_EBUSY : 0);
    if (error != 0) {
        device->device = NULL;
        return;
    }
    device->places = places;
    join_groups(world, device, joined);
}

/* A device that is there, or NULL. */
static struct ipmmu_world_device *choose_device(struct ipmmu_world *world, uint16_t number)
{
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        struct ipmmu_world_device *device = &world->devices[(number + i) % IPMMU_WORLD_DEVICES];

        if (device->device != NULL) {
            return device;
        }
    }
    return NULL;
}

static unsigned int number_of(const struct ipmmu_world *world,
                              const struct ipmmu_world_device *device)
{
    return (unsigned int)(device - world->devices);
}

static bool is_alone(const struct ipmmu_world *world, const struct ipmmu_world_device *device)
{
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        if (&world->devices[i] != device && world->devices[i].device != NULL &&
            world->devices[i].group == device->group) {
            return false;
        }
    }
    return true;
}

void ipmmu_call_remove(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct ipmmu_world_device *device = choose_device(world, raw[0]);
    struct piommu_device *handle;
    bool is_busy;
    int error;

    if (device == NULL) {
        return;
    }
    handle = device->device;
    is_busy = is_alone(world, device) && world->groups[device->group].domain != NULL;
    if (!is_busy) {
        device->device = NULL;
    }
    ipmmu_world_begin_moves(world);
    ipmmu_world_say(world, "remove(device %u)", number_of(world, device));
    error = piommu_device_remove(handle);
    ipmmu_world_expect(world, "remove", error, is_busy ? -PIOMMU_EBUSY : 0);
    ipmmu_world_end_moves(world);
}

/* A domain that is there, or NULL. */
static struct ipmmu_world_domain *choose_domain(struct ipmmu_world *world, uint16_t number)
{
    for (size_t i = 0; i < IPMMU_WORLD_DOMAINS; i++) {
        struct ipmmu_world_domain *domain = &world->domains[(number + i) % IPMMU_WORLD_DOMAINS];

        if (domain->domain != NULL) {
            return domain;
        }
    }
    return NULL;
}

static unsigned int domain_number(const struct ipmmu_world *world,
                                  const struct ipmmu_world_domain *domain)
{
    return (unsigned int)(domain - world->domains);
}

static unsigned int units_of_group(const struct ipmmu_world *world, unsigned int group)
{
    unsigned int units = 0;

    for (size_t i = 0; i < world->unit_count; i++) {
        for (size_t k = 0; k < IPMMU_WORLD_DEVICES; k++) {
            for (size_t place = 0; place < world->place_count; place++) {
                if (world->devices[k].device != NULL && world->devices[k].group == group &&
                    (world->devices[k].places & (1u << place)) != 0) {
                    units |= 1u << world->places[place].unit;
                }
            }
        }
    }
    return units;
}

void ipmmu_call_attach(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct ipmmu_world_device *device = choose_device(world, raw[0]);
    struct ipmmu_world_domain *domain = choose_domain(world, raw[1]);
    struct ipmmu_world_group before;
    int error;

    if (device == NULL || domain == NULL) {
        return;
    }
    before = world->groups[device->group];
    world->groups[device->group] = (struct ipmmu_world_group){.domain = domain};
    ipmmu_world_begin_moves(world);
    ipmmu_world_say(world, "attach(device %u, domain %u)", number_of(world, device),
                    domain_number(world, domain));
    error = piommu_group_attach(piommu_device_group(device->device), domain->domain);
    if (error != 0) {
        world->groups[device->group] = before;
        ipmmu_world_begin_moves(world);
    }
    /* On another root the domain may need a context that is not left. */
    if (error != -PIOMMU_ENOSPC || world->has_cache_units) {
        ipmmu_world_expect(world, "attach", error, 0);
        domain->used_by |= units_of_group(world, device->group);
    }
    ipmmu_world_end_moves(world);
}

void ipmmu_call_detach(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct ipmmu_world_device *device = choose_device(world, raw[0]);
    int error;

    if (device == NULL) {
        return;
    }
    world->groups[device->group] = (struct ipmmu_world_group){.domain = NULL};
    ipmmu_world_begin_moves(world);
    ipmmu_world_say(world, "detach(device %u)", number_of(world, device));
    error = piommu_group_detach(piommu_device_group(device->device));
    ipmmu_world_expect(world, "detach", error, 0);
    ipmmu_world_end_moves(world);
}

/* ---- Domains ---- */

static enum piommu_domain_type choose_type(const struct ipmmu_world *world, uint16_t number)
{
    if (number % 8 == 1) {
        return PIOMMU_DOMAIN_IDENTITY;
    }
    return number % 4 == 2 && world->has_shared ? PIOMMU_DOMAIN_SHARED : PIOMMU_DOMAIN_PAGING;
}

static void make_table(struct ipmmu_world *world, struct ipmmu_world_domain *domain,
                       const struct piommu_pgtable_config *config,
                       struct piommu_shared_table *shared)
{
    struct piommu_pgtable_info info;

    assert_int_equal(
        piommu_pgtable_create(fake_os_host(world->fixture->os), config, &domain->table), 0);
    piommu_pgtable_get_info(domain->table, &info);
    *shared = (struct piommu_shared_table){.config = config, .root = info.root_physical};
}

/* How many domains there are that take a context of a root, besides this one. */
static unsigned int contexts_taken(const struct ipmmu_world *world,
                                   const struct ipmmu_world_domain *besides)
{
    unsigned int count = 0;

    for (size_t i = 0; i < IPMMU_WORLD_DOMAINS; i++) {
        count += &world->domains[i] != besides && world->domains[i].domain != NULL &&
                 world->domains[i].type != PIOMMU_DOMAIN_IDENTITY;
    }
    return count;
}

/* What has to come out: with one root it is known how many contexts are in use. */
static void check_created(struct ipmmu_world *world, const struct ipmmu_world_domain *domain,
                          int error)
{
    bool may_be_full = world->usable_contexts != 0 && domain->type != PIOMMU_DOMAIN_IDENTITY &&
                       contexts_taken(world, domain) >= world->usable_contexts;

    if (!may_be_full || world->has_cache_units || error != -PIOMMU_ENOSPC) {
        ipmmu_world_expect(world, "create", error,
                           may_be_full && world->has_cache_units ? -PIOMMU_ENOSPC : 0);
    }
}

/* Running units that have micro-TLBs: those of the number, or the first. */
static unsigned int choose_units(const struct ipmmu_world *world, uint16_t number,
                                 struct piommu_instance **instances, size_t *count)
{
    unsigned int units = 0;

    for (size_t i = 0; i < world->unit_count; i++) {
        if (world->states[i].state == IPMMU_WORLD_RUNNING && (!world->has_cache_units || i != 0) &&
            (units == 0 || (number & (1u << i)) != 0)) {
            instances[(*count)++] = world->fixture->instances[i];
            units |= 1u << i;
        }
    }
    return units;
}

void ipmmu_call_create(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct ipmmu_world_domain *domain = &world->domains[raw[0] % IPMMU_WORLD_DOMAINS];
    const struct piommu_pgtable_config table = {.format = PIOMMU_ARM_64_LPAE_S2,
                                                .granule = 4096,
                                                .input_bits = 40,
                                                .output_bits = 40,
                                                .flags = PIOMMU_PGTABLE_CONCATENATE};
    struct piommu_instance *instances[IPMMU_WORLD_UNITS];
    struct piommu_shared_table shared;
    struct piommu_domain_config config = {
        .type = choose_type(world, raw[1]), .instances = instances, .owner = domain};
    unsigned int units = choose_units(world, raw[2], instances, &config.instance_count);
    int error;

    if (domain->domain != NULL || units == 0) {
        return;
    }
    *domain =
        (struct ipmmu_world_domain){.type = config.type, .created_for = units, .used_by = units};
    piommu_gather_init(&domain->gather);
    if (config.type == PIOMMU_DOMAIN_SHARED) {
        make_table(world, domain, &table, &shared);
        config.shared = &shared;
    }
    ipmmu_world_say(world, "create(domain %u, type %d, units %#x)", domain_number(world, domain),
                    (int)config.type, units);
    error = piommu_domain_create(&config, &domain->domain);
    if (error != 0) {
        piommu_pgtable_destroy(domain->table);
        domain->domain = NULL;
    }
    check_created(world, domain, error);
}

static void forget_all(struct ipmmu_world *world, const struct ipmmu_world_domain *domain)
{
    for (unsigned int i = 0; i < IPMMU_WORLD_SLOTS; i++) {
        const struct ipmmu_world_slot *slot = &domain->slots[i];

        if (slot->now.mapped) {
            ipmmu_world_forget(world, slot->now.physical);
        } else if (slot->before.mapped) {
            ipmmu_world_forget(world, slot->before.physical);
        }
    }
}

void ipmmu_call_destroy(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct ipmmu_world_domain *domain = choose_domain(world, raw[0]);
    bool is_busy = false;
    int error;

    if (domain == NULL) {
        return;
    }
    for (size_t i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        is_busy = is_busy || (world->devices[i].device != NULL &&
                              world->groups[world->devices[i].group].domain == domain);
    }
    ipmmu_world_say(world, "destroy(domain %u)", domain_number(world, domain));
    error = piommu_domain_destroy(domain->domain);
    ipmmu_world_expect(world, "destroy", error, is_busy ? -PIOMMU_EBUSY : 0);
    if (is_busy) {
        return;
    }
    domain->domain = NULL;
    forget_all(world, domain);
    if (domain->table != NULL) {
        piommu_pgtable_release(domain->table, &domain->gather);
        piommu_pgtable_destroy(domain->table);
    }
}

/* ---- Mappings ---- */

/* Slots that follow each other in a domain. */
struct stretch {
    struct ipmmu_world_domain *domain;
    unsigned int first;
    unsigned int count;
    unsigned int mapped;
    uint64_t iova;
    uint64_t size;
};

/* False: there is no domain that is made of mappings. */
static bool choose_stretch(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS],
                           struct stretch *stretch)
{
    stretch->domain = choose_domain(world, raw[0]);
    if (stretch->domain == NULL || stretch->domain->type == PIOMMU_DOMAIN_IDENTITY) {
        return false;
    }
    stretch->first = raw[1] % IPMMU_WORLD_SLOTS;
    stretch->count = 1 + raw[2] % ipmmu_world_run(stretch->first);
    stretch->iova = ipmmu_world_iova(world, stretch->first);
    stretch->size = ipmmu_world_size(stretch->first) * stretch->count;
    stretch->mapped = 0;
    for (unsigned int i = 0; i < stretch->count; i++) {
        stretch->mapped += stretch->domain->slots[stretch->first + i].now.mapped;
    }
    return true;
}

static bool is_unsynced(const struct stretch *stretch)
{
    const struct piommu_gather *gather = &stretch->domain->gather;

    return gather->pending && gather->range.first <= stretch->iova + (stretch->size - 1) &&
           stretch->iova <= gather->range.last;
}

static void set_stretch(const struct stretch *stretch, uint64_t physical, bool write,
                        bool is_changing)
{
    uint64_t size = stretch->size / stretch->count;

    for (unsigned int i = 0; i < stretch->count; i++) {
        stretch->domain->slots[stretch->first + i].now = (struct ipmmu_world_memory){
            .mapped = physical != 0, .write = write, .physical = physical + i * size};
        stretch->domain->slots[stretch->first + i].is_changing = is_changing;
    }
}

void ipmmu_call_map(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct stretch stretch;
    uint64_t physical;
    bool write = raw[3] % 4 != 1;
    piommu_prot prot = PIOMMU_PROT_READ | (write ? PIOMMU_PROT_WRITE : 0);
    uint64_t done = 0;
    int error;

    /* Where something is not synced nothing must be mapped. */
    if (!choose_stretch(world, raw, &stretch) || is_unsynced(&stretch)) {
        return;
    }
    physical = ipmmu_world_memory(world, stretch.first, stretch.count);
    if (stretch.mapped == 0) {
        set_stretch(&stretch, physical, write, true);
    }
    ipmmu_world_say(world, "map(domain %u, %#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ", %#x)",
                    domain_number(world, stretch.domain), stretch.iova, physical, stretch.size,
                    (unsigned int)prot);
    error = stretch.domain->table != NULL ? piommu_pgtable_map(stretch.domain->table, stretch.iova,
                                                               physical, stretch.size, prot, &done)
                                          : piommu_domain_map(stretch.domain->domain, stretch.iova,
                                                              physical, stretch.size, prot);
    if (stretch.mapped == 0) {
        ipmmu_world_expect(world, "map", error, 0);
        set_stretch(&stretch, physical, write, false);
    } else if (stretch.domain->table == NULL) {
        ipmmu_world_expect(world, "map", error, -PIOMMU_EEXIST);
    } else {
        /* The CPU's tables keep what was mapped before the conflict. */
        for (unsigned int i = 0; done != 0; i++, done -= stretch.size / stretch.count) {
            stretch.domain->slots[stretch.first + i].now = (struct ipmmu_world_memory){
                true, write, physical + i * (stretch.size / stretch.count)};
        }
    }
}

void ipmmu_call_unmap(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct stretch stretch;
    struct ipmmu_world_domain *domain;
    uint64_t unmapped = 0;
    int error;

    if (!choose_stretch(world, raw, &stretch)) {
        return;
    }
    domain = stretch.domain;
    for (unsigned int i = 0; i < stretch.count; i++) {
        struct ipmmu_world_slot *slot = &domain->slots[stretch.first + i];

        if (slot->now.mapped) {
            slot->before = slot->now;
            slot->now.mapped = false;
        }
    }
    ipmmu_world_say(world, "unmap(domain %u, %#" PRIx64 ", %#" PRIx64 ")",
                    domain_number(world, domain), stretch.iova, stretch.size);
    error = domain->table != NULL ? piommu_pgtable_unmap(domain->table, stretch.iova, stretch.size,
                                                         &domain->gather, &unmapped)
                                  : piommu_domain_unmap(domain->domain, stretch.iova, stretch.size,
                                                        &domain->gather, &unmapped);
    ipmmu_world_expect(world, "unmap", error, stretch.mapped != 0 ? 0 : -PIOMMU_ENOENT);
    assert_true(error != 0 || unmapped == stretch.size / stretch.count * stretch.mapped);
}

/* The host has changed its tables, and may not give the pages away before this. */
static int sync_shared(struct ipmmu_world_domain *domain)
{
    int error = 0;

    if (domain->gather.pending) {
        piommu_pgtable_detach_empty(domain->table, &domain->gather);
        error = piommu_domain_invalidate(domain->domain, domain->gather.range.first,
                                         domain->gather.range.last);
        piommu_pgtable_release(domain->table, &domain->gather);
    }
    return error;
}

void ipmmu_call_sync(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct ipmmu_world_domain *domain = choose_domain(world, raw[0]);
    int error;

    if (domain == NULL || domain->type == PIOMMU_DOMAIN_IDENTITY) {
        return;
    }
    ipmmu_world_say(world, "sync(domain %u)", domain_number(world, domain));
    error = domain->table != NULL ? sync_shared(domain)
                                  : piommu_domain_sync(domain->domain, &domain->gather);
    ipmmu_world_expect(world, "sync", error, 0);
    for (unsigned int i = 0; i < IPMMU_WORLD_SLOTS; i++) {
        if (domain->slots[i].before.mapped) {
            ipmmu_world_forget(world, domain->slots[i].before.physical);
            domain->slots[i].before.mapped = false;
        }
    }
}

void ipmmu_call_protect(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    struct stretch stretch;
    bool write = raw[3] % 2 != 0;
    int error;

    if (!choose_stretch(world, raw, &stretch) || stretch.domain->table != NULL ||
        is_unsynced(&stretch)) {
        return;
    }
    for (unsigned int i = 0; i < stretch.count; i++) {
        struct ipmmu_world_slot *slot = &stretch.domain->slots[stretch.first + i];

        slot->before = slot->now;
        slot->now.write = write;
        slot->is_changing = true;
    }
    ipmmu_world_say(world, "protect(domain %u, %#" PRIx64 ", %#" PRIx64 ", write: %d)",
                    domain_number(world, stretch.domain), stretch.iova, stretch.size, write);
    error = piommu_domain_protect(stretch.domain->domain, stretch.iova, stretch.size,
                                  PIOMMU_PROT_READ | (write ? PIOMMU_PROT_WRITE : 0), 0, NULL);
    ipmmu_world_expect(world, "protect", error, stretch.mapped != 0 ? 0 : -PIOMMU_ENOENT);
    for (unsigned int i = 0; i < stretch.count; i++) {
        struct ipmmu_world_slot *slot = &stretch.domain->slots[stretch.first + i];

        slot->before.mapped = false;
        slot->is_changing = false;
    }
}

/* ---- Faults, and hardware ---- */

/* All are taken in, with one answer; those told are left in the fixture. */
static void take_in(struct ipmmu_world *world, size_t root, enum piommu_fault_answer answer,
                    bool in_interrupt)
{
    struct ipmmu_fixture *fixture = world->fixture;
    bool more = true;

    fixture->answer = answer;
    fixture->fault_count = 0;
    if (in_interrupt) {
        assert_true(piommu_instance_interrupt(fixture->instances[root], 16, &more) >= 0);
    }
    if (more) {
        assert_true(piommu_instance_service(fixture->instances[root], 16) >= 0);
    }
    for (size_t i = 0; i < fixture->fault_count && i < IPMMU_MAX_FAULTS; i++) {
        const struct ipmmu_world_domain *domain = fixture->faults[i].domain_owner;

        /* Whoever is told of must exist. */
        assert_true(fixture->faults[i].iova_valid);
        assert_true(domain == NULL || domain->domain != NULL);
    }
}

void ipmmu_call_service(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    size_t root = world->units[raw[0] % world->unit_count].root;

    if (world->states[root].state == IPMMU_WORLD_RUNNING) {
        ipmmu_world_say(world, "service(%s)", unit_name(world, root));
        take_in(world, root, PIOMMU_FAULT_NOTE, raw[1] % 2 != 0);
    }
}

/* Groups in a domain with devices on a root, or on its cache units. */
static void block_groups(struct ipmmu_world *world, size_t root,
                         const struct ipmmu_world_domain *domain)
{
    for (unsigned int i = 0; i < IPMMU_WORLD_DEVICES; i++) {
        for (size_t unit = 0; unit < world->unit_count; unit++) {
            if (world->groups[i].domain == domain && world->units[unit].root == root &&
                (units_of_group(world, i) & (1u << unit)) != 0) {
                world->groups[i].is_fault_blocked = true;
            }
        }
    }
}

void ipmmu_call_fault(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    const struct ipmmu_world_place *place = &world->places[raw[0] % world->place_count];
    size_t root = world->units[place->unit].root;
    struct ipmmu_fixture *fixture = world->fixture;

    if (world->states[place->unit].state != IPMMU_WORLD_RUNNING) {
        return;
    }
    take_in(world, root, PIOMMU_FAULT_NOTE, false);
    (void)piommu_ipmmu_model_dma(fixture->model, place->unit, place->micro_tlb,
                                 ipmmu_world_iova(world, raw[1] % IPMMU_WORLD_SLOTS), true, NULL);
    /* Which domains are met is known afterwards; until then masters may be here or there. */
    for (size_t i = 0; i < world->place_count; i++) {
        world->places[i].is_moving = true;
    }
    take_in(world, root, PIOMMU_FAULT_BLOCK, raw[2] % 2 != 0);
    ipmmu_world_say(world, "fault(%s, %" PRIu32 "): %zu are told", unit_name(world, place->unit),
                    place->micro_tlb, fixture->fault_count);
    fixture->answer = PIOMMU_FAULT_NOTE;
    for (size_t i = 0; i < fixture->fault_count && i < IPMMU_MAX_FAULTS; i++) {
        if (fixture->faults[i].domain_owner != NULL) {
            block_groups(world, root, fixture->faults[i].domain_owner);
        }
    }
    ipmmu_world_begin_moves(world);
    ipmmu_world_end_moves(world);
}

void ipmmu_call_latency(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS])
{
    size_t unit = raw[0] % world->unit_count;

    ipmmu_world_say(world, "latency(%s, %u)", unit_name(world, unit), raw[1] % 5u);
    piommu_ipmmu_model_set_flush_polls(world->fixture->model, unit, raw[1] % 5u);
}
