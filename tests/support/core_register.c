/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core_calls.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT    1000000u /* a millisecond */
#define MSI_WINDOW 0x09000000ull
#define SECOND     1000000000u

/* ---- Common ---- */

static struct core_unit *choose_unit(struct core_world *world, uint16_t number)
{
    return &world->units[number % CORE_UNITS];
}

/* One that is there, if any is. */
static struct core_device *choose_device(struct core_world *world, uint16_t number)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        struct core_device *device = &world->devices[(number + i) % CORE_DEVICES];

        if (device->handle != NULL) {
            return device;
        }
    }
    return NULL;
}

static struct core_domain *choose_domain(struct core_world *world, uint16_t number)
{
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        struct core_domain *domain = &world->domains[(number + i) % CORE_DOMAINS];

        if (domain->handle != NULL) {
            return domain;
        }
    }
    return NULL;
}

/* Mostly one that the device can enter. */
static struct core_domain *choose_domain_for(struct core_world *world, uint16_t number,
                                             const struct core_device *device)
{
    for (unsigned int i = 0; device != NULL && number / 8 % 8 != 0 && i < CORE_DOMAINS; i++) {
        struct core_domain *domain = &world->domains[(number + i) % CORE_DOMAINS];

        if (domain->handle != NULL && domain->populated &&
            domain->tables == (device->ids[0].unit < 3)) {
            return domain;
        }
    }
    return choose_domain(world, number);
}

static bool is_there(const struct core_unit *unit)
{
    return unit->instance != NULL && unit->state != PIOMMU_INSTANCE_WAITING;
}

static bool any_in_state(const struct core_world *world, unsigned int units,
                         enum piommu_instance_state state)
{
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        if ((units & (1u << i)) != 0 && world->units[i].instance != NULL &&
            world->units[i].state == state) {
            return true;
        }
    }
    return false;
}

/* What the IDs of a device reach now, if nothing is unusual. */
static void settle_device(struct core_world *world, struct core_device *device)
{
    unsigned int units = core_units_of(world, core_group_of(world, device));
    bool failed = any_in_state(world, units, PIOMMU_INSTANCE_FAILED) ||
                  (device->domain >= 0 && world->domains[device->domain].haunted != 0);

    for (size_t i = 0; i < device->id_count; i++) {
        struct core_id *id = &device->ids[i];
        const struct core_unit *unit = &world->units[id->unit];
        struct piommu_id_info info;

        id->attached = device->domain >= 0 && !device->fault_blocked && !device->waiting &&
                       unit->instance != NULL && unit->state == PIOMMU_INSTANCE_RUNNING;
        /* It is not said what becomes of other IDs when one instance has failed. */
        if (failed && id->attached) {
            CORE_CHECK(piommu_device_get_id(device->handle, i, &info) == 0);
            id->attached = info.state == PIOMMU_ID_ATTACHED;
        }
    }
}

static void settle_all(struct core_world *world)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL) {
            settle_device(world, &world->devices[i]);
        }
    }
}

static void put_group(struct core_world *world, unsigned int group, int domain)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if ((group & (1u << i)) != 0) {
            /* A unit may have failed after the group had left. */
            if (world->disturbed && world->devices[i].domain >= 0) {
                world->domains[world->devices[i].domain].scarred = true;
            }
            world->devices[i].domain = domain;
            world->devices[i].fault_blocked = false;
        }
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if ((group & (1u << i)) != 0) {
            settle_device(world, &world->devices[i]);
        }
    }
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        if (world->domains[i].handle != NULL) {
            core_limit_domain(world, &world->domains[i]);
        }
    }
}

bool core_is_paging(const struct core_domain *domain)
{
    return domain != NULL && domain->handle != NULL &&
           (domain->type == PIOMMU_DOMAIN_PAGING || domain->type == PIOMMU_DOMAIN_DMA ||
            domain->type == PIOMMU_DOMAIN_DEFERRED);
}

/* ---- Instances ---- */

static unsigned int waiting_devices(const struct core_world *world)
{
    unsigned int mask = 0;

    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL && world->devices[i].waiting) {
            mask |= 1u << i;
        }
    }
    return mask;
}

/* Are all its instances there? */
static bool is_complete(const struct core_world *world, const struct core_device *device)
{
    for (size_t i = 0; i < device->id_count; i++) {
        if (!is_there(&world->units[device->ids[i].unit])) {
            return false;
        }
    }
    return true;
}

/* Groups become one when devices come, and are never taken apart. */
static void learn_groups(struct core_world *world)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        struct core_device *device = &world->devices[i];

        for (unsigned int j = 0; device->handle != NULL && j < i; j++) {
            struct core_device *other = &world->devices[j];

            if (other->handle != NULL && other->group != NULL && other->group == device->group) {
                CORE_CHECK(piommu_device_group(device->handle) ==
                           piommu_device_group(other->handle));
            }
        }
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL) {
            world->devices[i].group = piommu_device_group(world->devices[i].handle);
            CORE_CHECK(world->devices[i].group != NULL);
        }
    }
}

static uint32_t number_of(const struct core_world *world, uint32_t id)
{
    return (world->config[0] & 0x8) != 0 && (id == 3 || id == 4) ? 7 : 0;
}

/* Do two devices belong together? `present`: as far as the hardware is there. */
static bool are_related(const struct core_world *world, const struct core_device *a,
                        const struct core_device *b, bool present)
{
    if (a->group_key != 0 && a->group_key == b->group_key) {
        return true;
    }
    /* Which IDs of a device that waits are known already is not said. */
    if (present && (a->waiting || b->waiting)) {
        return false;
    }
    for (size_t i = 0; i < a->id_count; i++) {
        for (size_t j = 0; j < b->id_count; j++) {
            const struct core_id *x = &a->ids[i];
            const struct core_id *y = &b->ids[j];

            if (x->unit != y->unit || (present && !is_there(&world->units[x->unit]))) {
                continue;
            }
            if (x->id == y->id || (number_of(world, x->id) != 0 &&
                                   number_of(world, x->id) == number_of(world, y->id))) {
                return true;
            }
        }
    }
    return false;
}

static void check_groups(const struct core_world *world)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        for (unsigned int j = 0; j < i; j++) {
            const struct core_device *a = &world->devices[i];
            const struct core_device *b = &world->devices[j];

            if (a->handle != NULL && b->handle != NULL && !a->waiting && !b->waiting &&
                are_related(world, a, b, true)) {
                CORE_CHECK(a->group == b->group);
            }
        }
    }
}

/* Then it goes on waiting. */
static bool has_unknown_id(const struct core_device *device)
{
    return device->ids[0].id >= MOCK_ID_LIMIT;
}

static void complete_devices(struct core_world *world)
{
    unsigned int expected = 0;
    unsigned int waiting = waiting_devices(world);

    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        struct core_device *device = &world->devices[i];
        struct piommu_device_info info;

        if ((waiting & (1u << i)) == 0) {
            continue;
        }
        piommu_device_get_info(device->handle, &info);
        if (is_complete(world, device) && !core_injected(world) && !device->stuck &&
            !has_unknown_id(device) &&
            !any_in_state(world, core_units_of(world, 1u << i), PIOMMU_INSTANCE_FAILED) &&
            !any_in_state(world, core_units_of(world, 1u << i), PIOMMU_INSTANCE_SUSPENDED)) {
            CORE_CHECK(!info.waiting);
        }
        CORE_CHECK(info.waiting || is_complete(world, device));
        device->waiting = info.waiting;
        device->stuck = device->stuck || (info.waiting && is_complete(world, device));
        expected |= info.waiting ? 0 : 1u << i;
    }
    CORE_CHECK(world->ready_devices == expected);
    learn_groups(world);
    check_groups(world);
}

/* The children of a unit that has come. */
static void start_children(struct core_world *world, const struct core_unit *parent)
{
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        struct core_unit *unit = &world->units[i];
        struct piommu_instance_info info;

        if (unit->instance == NULL || unit->parent != parent->number + 1 ||
            unit->state != PIOMMU_INSTANCE_WAITING) {
            continue;
        }
        piommu_instance_get_info(unit->instance, &info);
        CORE_CHECK(info.state == PIOMMU_INSTANCE_RUNNING ||
                   (core_injected(world) && info.state == PIOMMU_INSTANCE_FAILED));
        CORE_CHECK(world->ready_instances == 1u << i);
        CORE_CHECK((world->ready_error == 0) == (info.state == PIOMMU_INSTANCE_RUNNING));
        unit->state = info.state;
    }
}

static void reset_unit(struct core_unit *unit)
{
    unit->faults = 0;
    unit->held_back = 0;
    unit->dropped = 0;
    unit->record_count = 0;
    memset(unit->noticed, 0, sizeof(unit->noticed));
}

void core_call_instance_create(struct core_world *world, const uint16_t *raw)
{
    struct core_unit *unit = choose_unit(world, raw[0]);
    struct core_unit *parent = unit->parent != 0 ? &world->units[unit->parent - 1] : NULL;
    struct piommu_instance_config config = {
        .name = unit->name,
        .owner = unit,
        .unknown_ids =
            (world->config[0] & 1) != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK,
        .timeout = TIMEOUT,
        .key = unit->key,
        .parent_key = parent != NULL ? parent->key : 0,
        .fault_records = unit->fault_records,
        .fault_limit = unit->fault_limit,
    };
    struct core_verdict verdict = {.must_count = 0};
    struct piommu_instance *instance = NULL;
    int result;

    core_say(world, "instance_create(%s)", unit->name);
    core_begin(world, "instance_create");
    result = piommu_instance_create(world->context, mock_backend(unit->mock), &unit->mock, &config,
                                    &instance);
    core_end(world, result);
    core_must(&verdict, unit->instance != NULL, -PIOMMU_EEXIST);
    core_must(&verdict,
              parent != NULL && parent->instance != NULL && parent->state == PIOMMU_INSTANCE_FAILED,
              -PIOMMU_EFAILED);
    core_must(&verdict,
              parent != NULL && parent->instance != NULL &&
                  parent->state == PIOMMU_INSTANCE_SUSPENDED,
              -PIOMMU_EBUSY);
    core_judge(world, &verdict, result);
    if (result != 0) {
        return;
    }
    unit->instance = instance;
    unit->state = parent != NULL && parent->instance == NULL ? PIOMMU_INSTANCE_WAITING
                                                             : PIOMMU_INSTANCE_RUNNING;
    reset_unit(unit);
    start_children(world, unit);
    complete_devices(world);
}

/* IDs that the instance knows, and devices that only wait for it. */
static bool has_ids(const struct core_world *world, const struct core_unit *unit, bool by_key)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *device = &world->devices[i];

        for (size_t j = 0; device->handle != NULL && j < device->id_count; j++) {
            if (device->ids[j].unit == unit->number && (!by_key || device->ids[j].by_key)) {
                return true;
            }
        }
    }
    return false;
}

void core_call_instance_destroy(struct core_world *world, const uint16_t *raw)
{
    struct core_unit *unit = choose_unit(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    bool used = false;
    int result;

    if (unit->instance == NULL) {
        return;
    }
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        used = used || (world->domains[i].handle != NULL &&
                        (world->domains[i].units & (1u << unit->number)) != 0);
        core_may(&verdict,
                 world->domains[i].handle != NULL &&
                     (world->domains[i].haunted & (1u << unit->number)) != 0,
                 -PIOMMU_EBUSY);
    }
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        used = used ||
               (world->units[i].instance != NULL && world->units[i].parent == unit->number + 1);
    }
    /* A device that names it by its key alone can wait for the next one with that key. */
    if (unit->state == PIOMMU_INSTANCE_WAITING || waiting_devices(world) != 0) {
        core_may(&verdict, has_ids(world, unit, false), -PIOMMU_EBUSY);
    } else {
        used = used || has_ids(world, unit, false);
    }
    core_must(&verdict, used, -PIOMMU_EBUSY);
    /* Whether it may go then is not clear: it is left alone. */
    if (!used && has_ids(world, unit, false)) {
        return;
    }
    core_may(&verdict, world->silent_unit && world->backend_unit == unit->number,
             -PIOMMU_ETIMEDOUT);
    core_say(world, "instance_destroy(%s)", unit->name);
    core_begin(world, "instance_destroy");
    result = piommu_instance_destroy(unit->instance);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == -PIOMMU_ETIMEDOUT) {
        world->disturbed = true;
        world->disturbed_units |= 1u << unit->number;
    }
    if (result == 0) {
        unit->instance = NULL;
    }
}

void core_call_suspend(struct core_world *world, const uint16_t *raw)
{
    struct core_unit *unit = choose_unit(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    bool busy = unit->state == PIOMMU_INSTANCE_WAITING;
    int result;

    if (unit->instance == NULL) {
        return;
    }
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        busy = busy ||
               (world->units[i].instance != NULL && world->units[i].parent == unit->number + 1 &&
                world->units[i].state == PIOMMU_INSTANCE_RUNNING);
    }
    if (unit->state != PIOMMU_INSTANCE_SUSPENDED) {
        core_must(&verdict, busy, -PIOMMU_EBUSY);
        core_must(&verdict, !unit->can_suspend, -PIOMMU_EOPNOTSUPP);
        core_must(&verdict, unit->state == PIOMMU_INSTANCE_FAILED, -PIOMMU_EFAILED);
        /* Whether a child that has failed keeps its parent awake is not said. */
        core_may(&verdict, unit->number == 0 && world->units[1].instance != NULL, -PIOMMU_EBUSY);
    }
    core_say(world, "instance_suspend(%s)", unit->name);
    core_begin(world, "instance_suspend");
    result = piommu_instance_suspend(unit->instance);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0) {
        unit->state = PIOMMU_INSTANCE_SUSPENDED;
    }
    if (!core_injected(world)) {
        settle_all(world);
    }
}

void core_call_resume(struct core_world *world, const uint16_t *raw)
{
    struct core_unit *unit = choose_unit(world, raw[0]);
    struct core_unit *parent = unit->parent != 0 ? &world->units[unit->parent - 1] : NULL;
    struct core_verdict verdict = {.must_count = 0};
    int result;

    if (unit->instance == NULL) {
        return;
    }
    core_must(&verdict,
              unit->state == PIOMMU_INSTANCE_SUSPENDED && parent != NULL &&
                  parent->state == PIOMMU_INSTANCE_SUSPENDED,
              -PIOMMU_EBUSY);
    core_may(&verdict, unit->state == PIOMMU_INSTANCE_FAILED, -PIOMMU_EFAILED);
    /* It may have failed while it was suspended. */
    core_may(&verdict, parent != NULL && parent->state == PIOMMU_INSTANCE_FAILED, -PIOMMU_EBUSY);
    core_may(&verdict, unit->state == PIOMMU_INSTANCE_WAITING, -PIOMMU_EBUSY);
    core_may(&verdict, !unit->can_suspend, -PIOMMU_EOPNOTSUPP);
    /* A parent that has failed while its child was asleep. */
    core_must(&verdict,
              unit->state == PIOMMU_INSTANCE_SUSPENDED && parent != NULL &&
                  parent->state == PIOMMU_INSTANCE_FAILED,
              -PIOMMU_EFAILED);
    core_say(world, "instance_resume(%s)", unit->name);
    core_begin(world, "instance_resume");
    result = piommu_instance_resume(unit->instance);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0 && unit->state == PIOMMU_INSTANCE_SUSPENDED) {
        unit->state = PIOMMU_INSTANCE_RUNNING;
    }
    if (result == -PIOMMU_EFAILED) {
        world->disturbed = true;
        world->disturbed_units |= 1u << unit->number;
    } else if (!core_injected(world)) {
        settle_all(world);
    }
}

/* ---- Devices ---- */

static void choose_ids(struct core_world *world, struct core_device *device, const uint16_t *raw)
{
    device->id_count = raw[1] % 8 < 5 ? 1 : 2 + raw[1] / 8 % 2;
    for (size_t i = 0; i < device->id_count; i++) {
        unsigned int unit = (raw[2] >> (5 * i)) % CORE_UNITS;

        /* Devices on units of both kinds can only be blocked: seldom. */
        if (raw[1] / 16 % 8 != 0 && i != 0) {
            unit = device->ids[0].unit < 3 ? unit % 3 : 3 + unit % 2;
        }
        device->ids[i] = (struct core_id){
            .unit = unit,
            .id = 1 + ((uint32_t)raw[3] >> (4 * i)) % CORE_HOST_IDS,
            .by_key = world->units[unit].instance == NULL || (raw[4] & (1u << i)) != 0,
        };
    }
    if (raw[1] / 128 % 32 == 0) {
        device->ids[0].id = MOCK_ID_LIMIT + raw[3];
    }
}

static void choose_regions(struct core_device *device, const uint16_t *raw)
{
    static const struct piommu_reserved_region regions[] = {
        {{0x40220000, 0x40223fff}, PIOMMU_RESERVED_DIRECT},
        {{0x40300000, 0x40303fff}, PIOMMU_RESERVED_RELAXABLE},
        {{0x40108000, 0x4010bfff}, PIOMMU_RESERVED},
        {{0x40200000, 0x40207fff}, PIOMMU_RESERVED_DIRECT},
    };

    device->host_regions = 0;
    for (size_t i = 0; raw[5] % 2 == 0 && i < 4; i++) {
        if ((raw[5] & (2u << i)) != 0) {
            device->regions[device->host_regions++] = regions[i];
        }
    }
    device->region_count = device->host_regions;
}

/* What the hardware will say of its IDs. */
static void add_hardware_regions(struct core_device *device)
{
    static const struct {
        uint32_t id;
        struct piommu_reserved_region region;
    } regions[] = {
        {5, {{0x40200000, 0x40207fff}, PIOMMU_RESERVED_DIRECT}},
        {6, {{0x40100000, 0x40107fff}, PIOMMU_RESERVED}},
        {7, {{0x08000000, 0x0800ffff}, PIOMMU_RESERVED_MSI}},
        {8, {{0x40300000, 0x40303fff}, PIOMMU_RESERVED_RELAXABLE}},
        {5, {{0x40300000, 0x40303fff}, PIOMMU_RESERVED_RELAXABLE}},
    };

    for (size_t i = 0; i < device->id_count; i++) {
        for (size_t j = 0; j < sizeof(regions) / sizeof(regions[0]); j++) {
            if (device->ids[i].id == regions[j].id) {
                CORE_CHECK(device->region_count < CORE_REGIONS);
                device->regions[device->region_count++] = regions[j].region;
            }
        }
    }
}

static bool has_twice(const struct core_device *device)
{
    for (size_t i = 0; i < device->id_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (device->ids[i].unit == device->ids[j].unit &&
                device->ids[i].id == device->ids[j].id) {
                return true;
            }
        }
    }
    return false;
}

/* Bits of the devices whose groups it joins. */
static unsigned int joined_devices(const struct core_world *world, const struct core_device *device,
                                   bool present)
{
    unsigned int mask = 0;

    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *other = &world->devices[i];

        if (other != device && other->handle != NULL &&
            are_related(world, device, other, present)) {
            mask |= core_group_of(world, other);
        }
    }
    return mask;
}

static bool any_in_domain(const struct core_world *world, unsigned int devices)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if ((devices & (1u << i)) != 0 && world->devices[i].domain >= 0) {
            return true;
        }
    }
    return false;
}

static void judge_attach(struct core_world *world, struct core_verdict *verdict,
                         const struct core_domain *domain, unsigned int group, unsigned int units);

/* An ID that no device has yet, on a unit in this state. */
static bool any_new_in_state(const struct core_world *world, const struct core_device *device,
                             enum piommu_instance_state state)
{
    for (size_t i = 0; i < device->id_count; i++) {
        const struct core_id *id = &device->ids[i];
        const struct core_unit *unit = &world->units[id->unit];
        bool known = false;

        for (unsigned int j = 0; j < CORE_DEVICES; j++) {
            const struct core_device *other = &world->devices[j];

            for (size_t k = 0; other != device && other->handle != NULL && k < other->id_count;
                 k++) {
                known = known || (other->ids[k].unit == id->unit && other->ids[k].id == id->id);
            }
        }
        if (!known && unit->instance != NULL && unit->state == state) {
            return true;
        }
    }
    return false;
}

static void judge_add(struct core_world *world, struct core_verdict *verdict,
                      const struct core_device *device)
{
    unsigned int units = 0;

    for (size_t i = 0; i < device->id_count; i++) {
        const struct core_unit *unit = &world->units[device->ids[i].unit];

        units |= 1u << unit->number;
        core_must(verdict,
                  device->ids[i].id >= MOCK_ID_LIMIT && is_there(unit) &&
                      unit->state == PIOMMU_INSTANCE_RUNNING,
                  -PIOMMU_ENOENT);
    }
    core_must(verdict, has_twice(device), -PIOMMU_EINVAL);
    core_must(verdict, any_in_domain(world, joined_devices(world, device, true)), -PIOMMU_EBUSY);
    core_may(verdict, any_in_domain(world, joined_devices(world, device, false)), -PIOMMU_EBUSY);
    core_must(verdict, any_in_state(world, units, PIOMMU_INSTANCE_SUSPENDED), -PIOMMU_EBUSY);
    core_must(verdict, any_new_in_state(world, device, PIOMMU_INSTANCE_FAILED), -PIOMMU_EFAILED);
    core_may(verdict, any_in_state(world, units, PIOMMU_INSTANCE_FAILED), -PIOMMU_EFAILED);
}

/* Regions of devices are mapped, and so need the addresses: what waits there is synced first. */
static bool sync_all(struct core_world *world, int number)
{
    struct core_domain *domain = number >= 0 ? &world->domains[number] : NULL;
    bool synced = true;

    for (unsigned int i = 0; domain != NULL && i < CORE_GATHERS; i++) {
        synced = core_sync_gather(world, domain, i) && synced;
    }
    return synced;
}

void core_call_device_add(struct core_world *world, const uint16_t *raw)
{
    struct core_device *device = &world->devices[raw[0] % CORE_DEVICES];
    struct core_verdict verdict = {.must_count = 0};
    struct piommu_device_id ids[CORE_DEVICE_IDS];
    struct core_domain *chosen = raw[0] / 8 % 6 == 0 ? choose_domain(world, raw[4]) : NULL;
    struct piommu_device_config config = {
        .ids = ids,
        .regions = device->regions,
        .group_key = raw[4] / 8 % 6 == 0 ? 1 + raw[4] / 64 % 2 : 0,
        .untrusted = raw[4] / 256 % 2 != 0,
        .name = device->name,
        .owner = device,
    };
    struct piommu_device *handle = NULL;
    bool asked;
    int result;

    if (device->handle != NULL) {
        return;
    }
    choose_ids(world, device, raw);
    choose_regions(device, raw);
    device->group_key = config.group_key;
    device->domain = CORE_NO_DOMAIN;
    device->fault_blocked = false;
    device->waiting = !is_complete(world, device);
    device->stuck = false;
    config.id_count = device->id_count;
    config.region_count = device->host_regions;
    /* Regions that policy has mapped need the addresses; and it has to be clear who is asked. */
    if (chosen != NULL &&
        (!sync_all(world, (int)chosen->number) ||
         joined_devices(world, device, true) != joined_devices(world, device, false))) {
        chosen = NULL;
    }
    core_say(world, "device_add(%s", device->name);
    for (size_t i = 0; i < device->id_count; i++) {
        const struct core_unit *unit = &world->units[device->ids[i].unit];

        ids[i] = (struct piommu_device_id){.id = device->ids[i].id};
        if (device->ids[i].by_key) {
            ids[i].key = unit->key;
        } else {
            ids[i].instance = unit->instance;
        }
        core_say(world, ", %s:%u%s", unit->name, ids[i].id, device->ids[i].by_key ? " by key" : "");
    }
    core_say(world, ", group key %u, %zu regions%s%s)", (unsigned int)config.group_key,
             config.region_count, chosen != NULL ? ", into " : "",
             chosen != NULL ? chosen->name : "");

    judge_add(world, &verdict, device);
    asked = verdict.must_count == 0 && chosen != NULL && !device->waiting &&
            joined_devices(world, device, true) == 0;
    add_hardware_regions(device);
    if (asked) {
        unsigned int units = 0;

        for (size_t i = 0; i < device->id_count; i++) {
            units |= 1u << device->ids[i].unit;
        }
        judge_attach(world, &verdict, chosen, 1u << device->number, units);
    }
    if (asked) {
        world->moving = 1u << device->number;
        world->target = (int)chosen->number;
    }
    core_begin(world, "device_add");
    world->choice = chosen != NULL ? (int)chosen->number : CORE_NO_DOMAIN;
    result = piommu_device_add(world->context, &config, &handle);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0 &&
        joined_devices(world, device, true) == joined_devices(world, device, false)) {
        CORE_CHECK((world->choices != 0) ==
                   (!device->waiting && joined_devices(world, device, true) == 0));
    }
    if (result != 0) {
        return;
    }
    device->handle = handle;
    device->group = NULL;
    learn_groups(world);
    check_groups(world);
    if (asked) {
        device->domain = (int)chosen->number;
        core_limit_domain(world, chosen);
    }
    settle_device(world, device);
}

static bool has_direct(const struct core_world *world, unsigned int group)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        for (size_t j = 0; (group & (1u << i)) != 0 && j < world->devices[i].region_count; j++) {
            if (world->devices[i].regions[j].kind >= PIOMMU_RESERVED_DIRECT) {
                return true;
            }
        }
    }
    return false;
}

/* IDs that no device has any more begin again when they come back. */
static void forget_storms(struct core_world *world, const struct core_device *device)
{
    for (size_t i = 0; i < device->id_count; i++) {
        const struct core_id *id = &device->ids[i];
        bool kept = false;

        for (unsigned int j = 0; j < CORE_DEVICES; j++) {
            const struct core_device *other = &world->devices[j];

            for (size_t k = 0; other->handle != NULL && k < other->id_count; k++) {
                kept = kept || (other->ids[k].unit == id->unit && other->ids[k].id == id->id);
            }
        }
        if (!kept && id->id <= CORE_HOST_IDS) {
            world->units[id->unit].noticed[id->id] = 0;
        }
    }
}

void core_call_device_remove(struct core_world *world, const uint16_t *raw)
{
    struct core_device *device = choose_device(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    unsigned int group;
    int result;

    if (device == NULL) {
        return;
    }
    group = core_group_of(world, device);
    if (has_direct(world, 1u << device->number) && !sync_all(world, device->domain)) {
        return;
    }
    core_must(&verdict, device->domain >= 0 && group == 1u << device->number, -PIOMMU_EBUSY);
    core_say(world, "device_remove(%s)", device->name);
    core_begin(world, "device_remove");
    world->moving = 1u << device->number;
    result = piommu_device_remove(device->handle);
    core_end(world, result);
    core_may(&verdict, core_in_doubt(world), -PIOMMU_EFAILED);
    core_judge(world, &verdict, result);
    if (result != 0) {
        return;
    }
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        struct core_unit *unit = &world->units[i];

        for (unsigned int j = 0; j < unit->record_count; j++) {
            if (unit->records[j].device_owner == (void *)device) {
                unit->records[j].device_owner = NULL;
                unit->records[j].device_name = NULL;
            }
        }
    }
    device->handle = NULL;
    device->domain = CORE_NO_DOMAIN;
    forget_storms(world, device);
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        if (world->domains[i].handle != NULL) {
            core_limit_domain(world, &world->domains[i]);
        }
    }
}

/* ---- Attaching ---- */

static bool table_fits(const struct core_world *world, unsigned int has, unsigned int gets)
{
    const struct piommu_pgtable_config *table = &mock_info(world->units[has].mock)->table;
    const struct piommu_pgtable_config *wanted = &mock_info(world->units[gets].mock)->table;

    return table->format == wanted->format && table->granule == wanted->granule &&
           table->input_bits <= wanted->input_bits && table->output_bits <= wanted->output_bits &&
           (wanted->coherent_walk || !table->coherent_walk) && (table->flags & ~wanted->flags) == 0;
}

/* Units that have to learn of the domain: is its table, or are its mappings, for them? */
static void judge_new_unit(struct core_world *world, struct core_verdict *verdict,
                           const struct core_domain *domain, const struct core_unit *unit)
{
    const struct piommu_backend_info *info = mock_info(unit->mock);
    uint64_t mask = (info->leaf_sizes & -info->leaf_sizes) - 1;
    bool fits = false;

    if (domain->type == PIOMMU_DOMAIN_IDENTITY) {
        core_must(verdict, !info->identity, -PIOMMU_EOPNOTSUPP);
        core_may(verdict, !info->identity, -PIOMMU_EMIXED);
        return;
    }
    if (domain->type == PIOMMU_DOMAIN_SHARED) {
        core_must(verdict, info->shared.formats == 0, -PIOMMU_EMIXED);
        core_must(verdict, info->shared.formats == 0, -PIOMMU_EOPNOTSUPP);
        return;
    }
    for (unsigned int i = 0; domain->tables && i < CORE_UNITS; i++) {
        fits = fits || ((domain->units & (1u << i)) != 0 && table_fits(world, i, unit->number));
    }
    if (domain->tables && !fits) {
        bool other = true;

        for (unsigned int i = 0; i < CORE_UNITS; i++) {
            other = other && ((domain->units & (1u << i)) == 0 ||
                              mock_info(world->units[i].mock)->table.format != info->table.format);
        }
        if (other) {
            core_must(verdict, true, -PIOMMU_EMIXED);
        } else {
            core_may(verdict, true, -PIOMMU_EMIXED);
        }
        core_may(verdict, true, -PIOMMU_EOPNOTSUPP);
        core_may(verdict, true, -PIOMMU_ERANGE);
    }
    core_may(verdict, domain->has_window && (domain->window.first & mask) != 0, -PIOMMU_ERANGE);
    for (size_t i = 0; i < domain->leaves.count; i++) {
        const struct core_leaf *leaf = &domain->leaves.items[i];

        if (leaf->last > info->aperture.last || ((leaf->first | leaf->physical) & mask) != 0 ||
            ((leaf->last + 1) & mask) != 0) {
            core_must(verdict, true, -PIOMMU_ERANGE);
            core_must(verdict, true, -PIOMMU_EOPNOTSUPP);
            return;
        }
        if ((leaf->prot & ~info->prot) != 0 ||
            ((leaf->prot & PIOMMU_PROT_READ) == 0 && !info->write_only)) {
            core_must(verdict, true, -PIOMMU_EOPNOTSUPP);
            core_must(verdict, true, -PIOMMU_ERANGE);
            return;
        }
    }
    for (size_t i = 0; i < domain->doorbells.count; i++) {
        const struct core_leaf *leaf = &domain->doorbells.items[i];

        if (((leaf->first | leaf->physical | (leaf->last + 1)) & mask) != 0 ||
            (leaf->prot & ~info->prot) != 0 ||
            ((leaf->prot & PIOMMU_PROT_READ) == 0 && !info->write_only)) {
            core_must(verdict, true, -PIOMMU_ERANGE);
            core_must(verdict, true, -PIOMMU_EOPNOTSUPP);
            return;
        }
    }
    /* Whether what was unmapped and not synced counts is not said. */
    core_may(verdict, domain->gone.count != 0, -PIOMMU_ERANGE);
    core_may(verdict, domain->gone.count != 0, -PIOMMU_EOPNOTSUPP);
}

static void judge_regions(struct core_world *world, struct core_verdict *verdict,
                          const struct core_domain *domain, const struct core_device *device)
{
    for (size_t i = 0; i < device->region_count; i++) {
        const struct piommu_reserved_region *region = &device->regions[i];

        if (!core_is_paging(domain) ||
            (region->kind == PIOMMU_RESERVED_RELAXABLE && !domain->relaxable)) {
            continue;
        }
        core_must(verdict,
                  core_leaves_overlap(&domain->leaves, region->range.first, region->range.last),
                  -PIOMMU_ERESERVED);
        core_may(verdict, core_gone_overlap(&domain->gone, region->range.first, region->range.last),
                 -PIOMMU_ERESERVED);
        if (verdict->must_count > 14 || verdict->may_count > 14) {
            return;
        }
    }
    (void)world;
}

static void judge_attach(struct core_world *world, struct core_verdict *verdict,
                         const struct core_domain *domain, unsigned int group, unsigned int units)
{
    core_must(verdict, domain->type == PIOMMU_DOMAIN_DEFERRED && !domain->populated,
              -PIOMMU_EAGAIN);
    core_must(verdict, any_in_state(world, units, PIOMMU_INSTANCE_FAILED), -PIOMMU_EFAILED);
    core_may(verdict, core_touches_failed(world, domain), -PIOMMU_EFAILED);
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        const struct core_unit *unit = &world->units[i];
        const struct core_unit *root = unit->parent != 0 ? &world->units[unit->parent - 1] : unit;

        if ((units & (1u << i)) == 0) {
            continue;
        }
        if ((unit->kind == PIOMMU_BACKEND_TABLES) != domain->tables) {
            core_must(verdict, true, -PIOMMU_EMIXED);
            continue;
        }
        if ((domain->units & (1u << i)) == 0) {
            judge_new_unit(world, verdict, domain, unit);
        }
        core_may(verdict,
                 root->context_limit != 0 && mock_contexts(unit->mock) >= root->context_limit,
                 -PIOMMU_ENOSPC);
        if (verdict->must_count > 14 || verdict->may_count > 14) {
            break;
        }
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if ((group & (1u << i)) != 0) {
            judge_regions(world, verdict, domain, &world->devices[i]);
            /* What a unit that has failed was not made to forget keeps its place. */
            core_may(verdict, domain->scarred && world->devices[i].region_count != 0,
                     domain->tables ? -PIOMMU_EBUSY : -PIOMMU_EEXIST);
        }
    }
}

static bool any_waiting(const struct core_world *world, unsigned int group)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if ((group & (1u << i)) != 0 && world->devices[i].waiting) {
            return true;
        }
    }
    return false;
}

void core_call_attach(struct core_world *world, const uint16_t *raw)
{
    struct core_device *device = choose_device(world, raw[0]);
    struct core_domain *domain = choose_domain_for(world, raw[1], device);
    struct core_verdict verdict = {.must_count = 0};
    unsigned int group;
    unsigned int units;
    bool alone;
    bool there;
    int result;

    if (device == NULL || domain == NULL) {
        return;
    }
    group = core_group_of(world, device);
    units = core_units_of(world, group);
    alone = group == 1u << device->number;
    there = device->domain == (int)domain->number && !device->fault_blocked;
    if (has_direct(world, group) &&
        (!sync_all(world, device->domain) || !sync_all(world, (int)domain->number))) {
        return;
    }
    core_must(&verdict, any_waiting(world, group), -PIOMMU_EWAITING);
    if (!there) {
        judge_attach(world, &verdict, domain, group, units);
    }
    core_may(&verdict, any_in_state(world, units, PIOMMU_INSTANCE_FAILED), -PIOMMU_EFAILED);
    if (raw[2] % 4 == 0) {
        core_must(&verdict, !alone, -PIOMMU_EGROUP);
    }
    core_say(world, "%s_attach(%s, %s)", raw[2] % 4 == 0 ? "device" : "group", device->name,
             domain->name);
    core_begin(world, "attach");
    world->moving = group;
    world->target = (int)domain->number;
    result = raw[2] % 4 == 0 ? piommu_device_attach(device->handle, domain->handle)
                             : piommu_group_attach(device->group, domain->handle);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0) {
        put_group(world, group, (int)domain->number);
    } else if (result == -PIOMMU_EFAILED) {
        /* In no domain, or if the unit could not be stopped where it was. */
        world->disturbed = true;
    } else if (result == -PIOMMU_EBLOCKED) {
        put_group(world, group, CORE_NO_DOMAIN);
    }
}

void core_call_detach(struct core_world *world, const uint16_t *raw)
{
    struct core_device *device = choose_device(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    unsigned int group;
    int result;

    if (device == NULL) {
        return;
    }
    group = core_group_of(world, device);
    if (has_direct(world, group) && !sync_all(world, device->domain)) {
        core_may(&verdict, true, -PIOMMU_EFAILED);
    }
    core_may(&verdict, core_in_doubt(world), -PIOMMU_EFAILED);
    if (raw[2] % 4 == 0) {
        core_must(&verdict, group != 1u << device->number, -PIOMMU_EGROUP);
    }
    core_say(world, "%s_detach(%s)", raw[2] % 4 == 0 ? "device" : "group", device->name);
    core_begin(world, "detach");
    world->moving = group;
    world->target = CORE_NO_DOMAIN;
    result =
        raw[2] % 4 == 0 ? piommu_device_detach(device->handle) : piommu_group_detach(device->group);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0) {
        put_group(world, group, CORE_NO_DOMAIN);
    }
}

/* ---- Faults ---- */

static struct core_device *owner_of(struct core_world *world, unsigned int unit, uint32_t id,
                                    unsigned int *count, bool *waiting)
{
    struct core_device *owner = NULL;

    *count = 0;
    *waiting = false;
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        struct core_device *device = &world->devices[i];

        for (size_t j = 0; device->handle != NULL && j < device->id_count; j++) {
            if (device->ids[j].unit == unit && device->ids[j].id == id) {
                owner = device;
                ++*count;
                *waiting = *waiting || any_waiting(world, core_group_of(world, device));
            }
        }
    }
    return owner;
}

static void check_record(const struct core_world *world, const struct piommu_fault *record,
                         const struct core_unit *unit, const struct piommu_backend_fault *fault,
                         const struct core_device *owner, unsigned int owners)
{
    CORE_CHECK(record->instance_owner == (const void *)unit);
    CORE_CHECK(strcmp(record->instance_name, unit->name) == 0);
    CORE_CHECK(record->id_valid);
    CORE_CHECK(record->id == fault->id && record->raw == fault->raw);
    CORE_CHECK(record->iova == fault->iova && record->iova_valid == fault->iova_valid);
    CORE_CHECK(record->read == fault->read && record->write == fault->write);
    CORE_CHECK(record->reason == fault->reason);
    CORE_CHECK(record->time <= fake_os_time(world->os));
    CORE_CHECK(record->device_owner == (owners == 1 ? (const void *)owner : NULL));
    CORE_CHECK((record->device_name != NULL) == (owners == 1));
    if (owner == NULL || owner->domain < 0) {
        CORE_CHECK(record->domain_owner == NULL);
    } else if (owners == 1 && !owner->fault_blocked) {
        CORE_CHECK(record->domain_owner == &world->domains[owner->domain]);
    }
}

static void keep_record(struct core_unit *unit, const struct piommu_fault *record)
{
    if (unit->fault_records == 0) {
        return;
    }
    if (unit->record_count == CORE_RECORDS) {
        memmove(unit->records, unit->records + 1, sizeof(unit->records) - sizeof(*record));
        unit->record_count--;
        unit->dropped++;
    }
    unit->records[unit->record_count++] = *record;
}

static bool same_record(const struct piommu_fault *a, const struct piommu_fault *b)
{
    return a->device_owner == b->device_owner && a->domain_owner == b->domain_owner &&
           a->instance_owner == b->instance_owner && a->time == b->time && a->id == b->id &&
           a->iova == b->iova && a->raw == b->raw &&
           (a->device_name == NULL) == (b->device_name == NULL);
}

static void take_record(struct core_unit *unit)
{
    struct piommu_fault record;
    int result = piommu_instance_take_fault(unit->instance, &record);

    if (unit->record_count == 0) {
        CORE_CHECK(result == -PIOMMU_ENOENT);
        return;
    }
    CORE_CHECK(result == 0);
    CORE_CHECK(same_record(&record, &unit->records[0]));
    unit->record_count--;
    memmove(unit->records, unit->records + 1, unit->record_count * sizeof(record));
}

/* Was the report held back? Then the unit says so, and nothing else happens. */
static bool was_held_back(const struct core_world *world, struct core_unit *unit, uint32_t id,
                          unsigned int owners)
{
    uint64_t *noticed = &unit->noticed[owners != 0 ? id : 0];
    struct piommu_instance_info info;
    bool held_back;

    piommu_instance_get_info(unit->instance, &info);
    held_back = info.faults_held_back != unit->held_back;
    CORE_CHECK(info.faults_held_back <= unit->held_back + 1);
    CORE_CHECK(!held_back || (unit->fault_limit != 0 && *noticed >= unit->fault_limit));
    unit->held_back = info.faults_held_back;
    *noticed += !held_back;
    /* All that happens in a program happens within a second. */
    CORE_CHECK(unit->fault_limit == 0 || fake_os_time(world->os) > SECOND ||
               *noticed <= unit->fault_limit);
    return held_back;
}

static void block_for_fault(struct core_world *world, struct core_device *owner)
{
    unsigned int group = core_group_of(world, owner);

    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if ((group & (1u << i)) != 0) {
            world->devices[i].fault_blocked = world->devices[i].domain >= 0;
            settle_device(world, &world->devices[i]);
        }
    }
}

static int service(struct core_world *world, struct core_unit *unit, bool interrupt)
{
    bool more = false;
    int result;

    if (!interrupt) {
        core_begin(world, "service");
        result = piommu_instance_service(unit->instance, 1);
        core_end(world, result);
        return result;
    }
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        mock_set_interrupt(world->units[i].mock, true);
    }
    core_begin(world, "interrupt");
    fake_os_forbid(world->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
    result = piommu_instance_interrupt(unit->instance, 1, &more);
    core_end(world, result);
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        mock_set_interrupt(world->units[i].mock, false);
    }
    if (more) {
        core_begin(world, "service");
        core_say(world, "  service");
        CORE_CHECK(piommu_instance_service(unit->instance, 0) <= 0);
        core_end(world, 0);
    }
    return result;
}

/* Does a device of the domain have an ID on the unit, or on a part of it? */
static bool is_behind(const struct core_world *world, const struct core_device *device,
                      const struct core_unit *unit)
{
    for (size_t i = 0; i < device->id_count; i++) {
        const struct core_unit *own = &world->units[device->ids[i].unit];

        if (own == unit || own->parent == unit->number + 1) {
            return true;
        }
    }
    return false;
}

static void check_domain_record(const struct core_world *world, const struct core_unit *unit,
                                const struct piommu_backend_fault *fault,
                                const struct core_domain *domain, unsigned int concerned)
{
    const struct piommu_fault *record = &world->fault;
    const struct core_device *device = record->device_owner;

    CORE_CHECK(!record->id_valid && record->raw == fault->raw && record->iova == fault->iova);
    CORE_CHECK(record->instance_owner == (const void *)unit);
    CORE_CHECK(record->domain_owner == (const void *)domain);
    CORE_CHECK(device == NULL || concerned == 1u << device->number);
}

/* A fault of which the hardware names the context alone concerns all devices in it. */
void core_call_domain_fault(struct core_world *world, const uint16_t *raw)
{
    const struct core_device *device = choose_device(world, raw[0]);
    struct piommu_backend_fault fault = {
        .reason = PIOMMU_FAULT_MAPPING,
        .iova_valid = true,
        .write = true,
        .iova = (uint64_t)raw[1] * CORE_PAGE,
        .raw = raw[2],
    };
    unsigned int concerned = 0;
    unsigned int calls = world->fault_calls;
    struct core_domain *domain;
    struct core_unit *unit;
    int result;

    if (device == NULL || device->domain < 0 || !device->ids[0].attached || core_in_doubt(world)) {
        return;
    }
    domain = &world->domains[device->domain];
    unit = &world->units[device->ids[0].unit];
    fault.domain = mock_identity(unit->mock, device->ids[0].id);
    /* Storms and rings are looked at where an ID is named, a callback where there is one. */
    if (fault.domain == NULL || unit->fault_limit != 0 || unit->fault_records != 0 ||
        (world->config[0] & 0x10) != 0) {
        return;
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *other = &world->devices[i];

        if (other->handle != NULL && other->domain == (int)domain->number &&
            is_behind(world, other, unit)) {
            concerned |= 1u << i;
        }
    }
    world->answer = (enum piommu_fault_answer)(raw[3] % 3);
    mock_raise_fault(unit->mock, &fault);
    if (world->answer == PIOMMU_FAULT_BLOCK) {
        for (unsigned int i = 0; i < CORE_DEVICES; i++) {
            world->moving |=
                (concerned & (1u << i)) != 0 ? core_group_of(world, &world->devices[i]) : 0;
        }
        world->target = CORE_NO_DOMAIN;
    }
    core_say(world, "fault(%s, in %s), answer %d, %s", unit->name, domain->name, (int)world->answer,
             raw[3] / 4 % 2 != 0 ? "interrupt" : "service");
    result = service(world, unit, raw[3] / 4 % 2 != 0);
    CORE_CHECK(result == 1 || (core_injected(world) && result == -PIOMMU_EFAILED));
    unit->faults++;
    CORE_CHECK(world->fault_calls == calls + 1);
    check_domain_record(world, unit, &fault, domain, concerned);
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->answer == PIOMMU_FAULT_BLOCK && (concerned & (1u << i)) != 0 &&
            !core_injected(world)) {
            block_for_fault(world, &world->devices[i]);
        }
    }
}

void core_call_fault(struct core_world *world, const uint16_t *raw)
{
    struct core_unit *unit = choose_unit(world, raw[0]);
    struct piommu_backend_fault fault = {
        .id = 1 + raw[1] % CORE_HOST_IDS,
        .reason = (enum piommu_fault_reason)(raw[2] % 3),
        .iova_valid = true,
        .read = raw[2] / 4 % 2 != 0,
        .write = raw[2] / 8 % 2 != 0,
        .iova = (uint64_t)raw[3] * CORE_PAGE,
        .raw = raw[4],
    };
    bool asks = (world->config[0] & 0x10) == 0;
    unsigned int calls = world->fault_calls;
    struct core_device *owner;
    unsigned int owners;
    bool held_back;
    bool waiting;
    int result;

    if (raw[4] % 4 != 0 && choose_device(world, raw[4]) != NULL) {
        const struct core_device *device = choose_device(world, raw[4]);
        const struct core_id *id = &device->ids[raw[1] % device->id_count];

        if (id->id <= CORE_HOST_IDS) {
            unit = &world->units[id->unit];
            fault.id = id->id;
        }
    }
    if (unit->instance == NULL || unit->state != PIOMMU_INSTANCE_RUNNING) {
        return;
    }
    if (raw[5] % 4 == 0) {
        take_record(unit);
    }
    owner = owner_of(world, unit->number, fault.id, &owners, &waiting);
    /* Whether a device that waits for another of its IDs has this one is not said. */
    if (waiting) {
        return;
    }
    world->answer = asks ? (enum piommu_fault_answer)(raw[5] / 4 % 3) : PIOMMU_FAULT_NOTE;
    mock_raise_fault(unit->mock, &fault);
    if (world->answer == PIOMMU_FAULT_BLOCK && owner != NULL) {
        world->moving = core_group_of(world, owner);
        world->target = CORE_NO_DOMAIN;
    }
    core_say(world, "fault(%s, ID %u), answer %d, %s", unit->name, fault.id, (int)world->answer,
             raw[5] / 16 % 2 != 0 ? "interrupt" : "service");
    result = service(world, unit, raw[5] / 16 % 2 != 0);
    CORE_CHECK(result == 1 || (core_injected(world) && result == -PIOMMU_EFAILED));
    unit->faults++;
    held_back = was_held_back(world, unit, fault.id, owners);
    if (asks) {
        CORE_CHECK(world->fault_calls == calls + !held_back);
    }
    if (held_back) {
        return;
    }
    if (asks) {
        check_record(world, &world->fault, unit, &fault, owner, owners);
    }
    if (world->answer != PIOMMU_FAULT_IGNORE) {
        struct piommu_fault record = world->fault;

        if (!asks) {
            record = (struct piommu_fault){.instance_owner = unit};
        }
        keep_record(unit, &record);
        /* Without a callback the record is read at once. */
        if (!asks && unit->fault_records != 0) {
            while (unit->record_count != 0) {
                CORE_CHECK(piommu_instance_take_fault(unit->instance, &record) == 0);
                unit->record_count--;
            }
            check_record(world, &record, unit, &fault, owner, owners);
        }
    }
    if (world->answer == PIOMMU_FAULT_BLOCK && owner != NULL && !core_injected(world)) {
        block_for_fault(world, owner);
    }
}

/* ---- Domains ---- */

static void make_cpu_table(struct core_world *world, struct core_domain *domain,
                           struct piommu_pgtable_config *config, uint64_t *root)
{
    struct piommu_pgtable_info info;

    *config = (struct piommu_pgtable_config){.format = PIOMMU_ARM_64_LPAE_S2,
                                             .granule = 4096,
                                             .input_bits = 40,
                                             .output_bits = 40,
                                             .coherent_walk = (world->config[0] & 0x4) == 0};
    CORE_CHECK(piommu_pgtable_create(fake_os_host(world->os), config, &domain->cpu_table) == 0);
    piommu_pgtable_get_info(domain->cpu_table, &info);
    *root = info.root_physical;
}

static void judge_create(struct core_world *world, struct core_verdict *verdict,
                         const struct core_domain *domain)
{
    bool tables = false;
    bool requests = false;
    unsigned int format = 0;

    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        const struct core_unit *unit = &world->units[i];
        const struct piommu_backend_info *info = mock_info(unit->mock);
        const struct core_unit *root = unit->parent != 0 ? &world->units[unit->parent - 1] : unit;

        if ((domain->units & (1u << i)) == 0) {
            continue;
        }
        if (unit->kind == PIOMMU_BACKEND_TABLES) {
            tables = true;
        } else {
            requests = true;
        }
        core_must(verdict, unit->state == PIOMMU_INSTANCE_WAITING, -PIOMMU_EWAITING);
        core_must(verdict, unit->state == PIOMMU_INSTANCE_FAILED, -PIOMMU_EFAILED);
        core_must(verdict, domain->type == PIOMMU_DOMAIN_IDENTITY && !info->identity,
                  -PIOMMU_EOPNOTSUPP);
        core_must(verdict, domain->type == PIOMMU_DOMAIN_SHARED && info->shared.formats == 0,
                  -PIOMMU_EOPNOTSUPP);
        core_must(verdict,
                  core_is_paging(domain) && format != 0 && info->table.format != 0 &&
                      format != (unsigned int)info->table.format,
                  -PIOMMU_EMIXED);
        /* The same units can have an identity domain. */
        core_may(verdict,
                 format != 0 && info->table.format != 0 &&
                     format != (unsigned int)info->table.format,
                 -PIOMMU_EMIXED);
        format = info->table.format;
        core_may(verdict,
                 root->context_limit != 0 && mock_contexts(unit->mock) >= root->context_limit,
                 -PIOMMU_ENOSPC);
    }
    core_must(verdict, tables && requests, -PIOMMU_EMIXED);
    core_must(verdict, domain->disjoint && requests && core_is_paging(domain), -PIOMMU_EOPNOTSUPP);
    core_may(verdict, domain->disjoint && (requests || !core_is_paging(domain)), -PIOMMU_EINVAL);
    core_may(verdict, domain->disjoint, -PIOMMU_EOPNOTSUPP);
}

static const enum piommu_domain_type domain_types[] = {
    PIOMMU_DOMAIN_PAGING,   PIOMMU_DOMAIN_PAGING,   PIOMMU_DOMAIN_PAGING, PIOMMU_DOMAIN_PAGING,
    PIOMMU_DOMAIN_PAGING,   PIOMMU_DOMAIN_IDENTITY, PIOMMU_DOMAIN_DMA,    PIOMMU_DOMAIN_SHARED,
    PIOMMU_DOMAIN_DEFERRED, PIOMMU_DOMAIN_DEFERRED,
};

static void reset_domain(struct core_domain *domain)
{
    domain->leaves.count = 0;
    domain->doorbells.count = 0;
    domain->frames.count = 0;
    domain->gone.count = 0;
    domain->haunted = 0;
    domain->scarred = false;
    domain->cpu_table = NULL;
    domain->statistics = (struct piommu_domain_statistics){0};
    for (unsigned int i = 0; i < CORE_GATHERS; i++) {
        piommu_gather_init(&domain->gathers[i]);
    }
}

static size_t choose_instances(struct core_world *world, struct core_domain *domain,
                               const uint16_t *raw, struct piommu_instance **instances)
{
    /* Mostly of one kind. */
    unsigned int mask = raw[2] % 16 == 0 ? 0x1f : raw[2] % 16 < 10 ? 0x07 : 0x18;
    size_t count = 0;

    domain->home = 0;
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        if ((mask & (1u << i)) != 0 && (raw[2] & (0x100u << i)) == 0 &&
            world->units[i].instance != NULL) {
            domain->home |= 1u << i;
            instances[count++] = world->units[i].instance;
        }
    }
    domain->units = domain->home;
    return count;
}

void core_call_domain_create(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = &world->domains[raw[0] % CORE_DOMAINS];
    struct piommu_instance *instances[CORE_UNITS];
    struct core_verdict verdict = {.must_count = 0};
    struct piommu_pgtable_config table;
    struct piommu_shared_table shared = {.config = &table};
    struct piommu_domain *handle = NULL;
    struct piommu_domain_config config = {
        .type = domain_types[raw[1] % (sizeof(domain_types) / sizeof(domain_types[0]))],
        .instances = instances,
        .name = domain->name,
        .owner = domain,
        .disjoint = raw[3] % 8 == 0,
        .map_relaxable = raw[3] / 8 % 2 != 0,
        .frames_cookie = domain,
    };
    int result;

    if (domain->handle != NULL) {
        return;
    }
    reset_domain(domain);
    config.instance_count = choose_instances(world, domain, raw, instances);
    domain->type = config.type;
    domain->tables = (domain->units & 0x07) != 0;
    domain->relaxable = config.map_relaxable;
    domain->disjoint = config.disjoint;
    domain->populated = config.type != PIOMMU_DOMAIN_DEFERRED;
    domain->has_frames = config.type == PIOMMU_DOMAIN_DEFERRED && raw[3] / 16 % 2 != 0;
    config.next_frames = domain->has_frames ? core_next_frames : NULL;
    domain->has_window = raw[3] / 32 % 2 != 0 && config.type != PIOMMU_DOMAIN_IDENTITY &&
                         config.type != PIOMMU_DOMAIN_SHARED;
    if (domain->has_window) {
        domain->window = (struct piommu_range){MSI_WINDOW, MSI_WINDOW + 0x7fff};
        config.msi_window = domain->window;
    }
    domain->handle = (struct piommu_domain *)domain; /* for the questions below */
    core_must(&verdict, config.instance_count == 0, -PIOMMU_EINVAL);
    judge_create(world, &verdict, domain);
    core_limit_domain(world, domain);
    domain->handle = NULL;
    if (config.type == PIOMMU_DOMAIN_SHARED) {
        make_cpu_table(world, domain, &table, &shared.root);
        config.shared = &shared;
    }
    core_say(world, "domain_create(%s, type %d, units 0x%x%s%s%s%s)", domain->name,
             (int)config.type, domain->units, domain->disjoint ? ", disjoint" : "",
             domain->relaxable ? ", relaxable" : "", domain->has_window ? ", MSI window" : "",
             domain->has_frames ? ", next_frames" : "");
    core_begin(world, "domain_create");
    result = piommu_domain_create(&config, &handle);
    core_end(world, result);
    core_judge(world, &verdict, result);
    domain->handle = result == 0 ? handle : NULL;
    /* It means nothing for other types. */
    domain->disjoint = domain->disjoint && core_is_paging(domain);
    if (result != 0) {
        piommu_pgtable_destroy(domain->cpu_table);
        domain->cpu_table = NULL;
    }
}

void core_call_domain_destroy(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_domain(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    unsigned int calls = 0;
    int result;

    if (domain == NULL) {
        return;
    }
    /* Tables that an unmap of disjoint tables has taken out are in the gather alone. */
    if (domain->disjoint) {
        sync_all(world, (int)domain->number);
    }
    core_must(&verdict, core_has_devices(world, domain), -PIOMMU_EBUSY);
    core_say(world, "domain_destroy%s(%s)", raw[1] % 2 != 0 ? "_some" : "", domain->name);
    core_begin(world, "domain_destroy");
    do {
        result = raw[1] % 2 != 0 ? piommu_domain_destroy_some(domain->handle, raw[2] % 512)
                                 : piommu_domain_destroy(domain->handle);
        CORE_CHECK(++calls < 100000);
    } while (raw[1] % 2 != 0 && result == -PIOMMU_EAGAIN);
    core_end(world, result);
    CORE_CHECK(result != -PIOMMU_EAGAIN);
    core_may(&verdict, core_in_doubt(world), -PIOMMU_EFAILED);
    core_judge(world, &verdict, result);
    if (result != 0) {
        return;
    }
    core_free_cpu_table(domain);
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        struct core_unit *unit = &world->units[i];

        for (unsigned int j = 0; j < unit->record_count; j++) {
            if (unit->records[j].domain_owner == (void *)domain) {
                unit->records[j].domain_owner = NULL;
                unit->records[j].domain_name = NULL;
            }
        }
    }
    reset_domain(domain);
    domain->handle = NULL;
}

/* ---- Requirements ---- */

void core_call_requirements(struct core_world *world, const uint16_t *raw)
{
    struct piommu_instance *instances[CORE_UNITS];
    struct core_domain domain = {.number = CORE_DOMAINS};
    struct piommu_instance *culprit = NULL;
    struct core_verdict verdict = {.must_count = 0};
    struct piommu_requirements requirements;
    unsigned int kinds = 0;
    bool formats = false;
    size_t count = 0;
    int result;

    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        const struct core_unit *unit = &world->units[i];

        if ((raw[0] & (1u << i)) == 0 || unit->instance == NULL) {
            continue;
        }
        formats = formats || (unit->kind == PIOMMU_BACKEND_TABLES && (domain.units & 0x7) != 0 &&
                              !table_fits(world, i, 0) && !table_fits(world, 0, i));
        domain.home |= 1u << i;
        domain.units |= 1u << i;
        kinds |= 1u << unit->kind;
        core_must(&verdict, unit->state == PIOMMU_INSTANCE_WAITING, -PIOMMU_EWAITING);
        core_may(&verdict, unit->state == PIOMMU_INSTANCE_FAILED, -PIOMMU_EFAILED);
        instances[count++] = unit->instance;
    }
    core_must(&verdict, count == 0, -PIOMMU_EINVAL);
    core_must(&verdict, kinds == 3, -PIOMMU_EMIXED);
    core_may(&verdict, formats, -PIOMMU_EMIXED);
    core_say(world, "requirements_get(units 0x%x)", domain.units);
    core_begin(world, "requirements_get");
    result = piommu_requirements_get(instances, count, &requirements, &culprit);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result != 0) {
        CORE_CHECK(result == -PIOMMU_EINVAL || result == -PIOMMU_EFAILED || culprit != NULL);
        return;
    }
    core_limit_domain(world, &domain);
    CORE_CHECK(requirements.tables == (kinds == 1u << PIOMMU_BACKEND_TABLES));
    CORE_CHECK(requirements.aperture.first == domain.aperture.first);
    CORE_CHECK(requirements.aperture.last == domain.aperture.last);
    CORE_CHECK((requirements.leaf_sizes & -requirements.leaf_sizes) == domain.granule);
    CORE_CHECK(requirements.prot == domain.prot);
    CORE_CHECK(requirements.write_only == domain.write_only);
    CORE_CHECK(requirements.output_bits == 40);
}
