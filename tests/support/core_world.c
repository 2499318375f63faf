/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core_world.h"

#include <piommu/backend.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where what is of interest lies; see also core_calls.c. */
#define DIRECT_A     0x40200000ull
#define DIRECT_B     0x40220000ull
#define RELAXABLE    0x40300000ull
#define RESERVED     0x40100000ull
#define MSI_REGION   0x08000000ull
#define SECRET       0x7000000000ull
#define UNIT_TIMEOUT 1000000u

/* The world that runs: for what is printed in front of what is not true. */
static const struct core_world *current;

void core_check_failed(const char *file, int line, const char *condition)
{
    if (current != NULL) {
        fprintf(stderr, "call %u, %s: ", current->number,
                current->call != NULL ? current->call : "no call");
    }
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
    fflush(NULL);
    /* Tells mistakes apart, so that a program is not shortened to another one. */
    _Exit(2 + line % 120);
}

void core_say(const struct core_world *world, const char *format, ...)
{
    va_list arguments;

    if (!world->verbose) {
        return;
    }
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

uint64_t core_random(uint64_t *state)
{
    uint64_t value;

    *state += 0x9e3779b97f4a7c15ull;
    value = *state;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

/* ---- Lists ---- */

size_t core_leaves_index(const struct core_leaves *leaves, uint64_t address)
{
    size_t low = 0;
    size_t high = leaves->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (leaves->items[middle].last < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct core_leaf *core_leaves_at(const struct core_leaves *leaves, uint64_t address)
{
    size_t index = core_leaves_index(leaves, address);

    return index < leaves->count && leaves->items[index].first <= address ? &leaves->items[index]
                                                                          : NULL;
}

bool core_leaves_overlap(const struct core_leaves *leaves, uint64_t first, uint64_t last)
{
    size_t index = core_leaves_index(leaves, first);

    return index < leaves->count && leaves->items[index].first <= last;
}

void core_leaves_insert(struct core_leaves *leaves, const struct core_leaf *leaf)
{
    size_t index = core_leaves_index(leaves, leaf->first);

    CORE_CHECK(!core_leaves_overlap(leaves, leaf->first, leaf->last));
    if (leaves->count == leaves->room) {
        leaves->room = 2 * leaves->room + 64;
        leaves->items = realloc(leaves->items, leaves->room * sizeof(*leaves->items));
    }
    memmove(&leaves->items[index + 1], &leaves->items[index],
            (leaves->count - index) * sizeof(*leaves->items));
    leaves->items[index] = *leaf;
    leaves->count++;
}

void core_leaves_append(struct core_leaves *leaves, const struct core_leaf *leaf)
{
    struct core_leaf *before = leaves->count != 0 ? &leaves->items[leaves->count - 1] : NULL;

    if (before != NULL && before->last + 1 == leaf->first && before->prot == leaf->prot &&
        before->physical + (leaf->first - before->first) == leaf->physical) {
        before->last = leaf->last;
    } else {
        core_leaves_insert(leaves, leaf);
    }
}

struct core_leaf core_leaf_part(const struct core_leaf *leaf, uint64_t first, uint64_t last)
{
    struct core_leaf part = *leaf;

    if (part.first < first) {
        part.physical += first - part.first;
        part.first = first;
    }
    if (part.last > last) {
        part.last = last;
    }
    return part;
}

void core_leaves_remove(struct core_leaves *leaves, uint64_t first, uint64_t last)
{
    size_t begin = core_leaves_index(leaves, first);
    size_t end = begin;
    struct core_leaf below = {0};
    struct core_leaf above = {0};
    bool has_below = false;
    bool has_above = false;

    while (end < leaves->count && leaves->items[end].first <= last) {
        const struct core_leaf *leaf = &leaves->items[end++];

        if (leaf->first < first) {
            below = core_leaf_part(leaf, 0, first - 1);
            has_below = true;
        }
        if (leaf->last > last) {
            above = core_leaf_part(leaf, last + 1, UINT64_MAX);
            has_above = true;
        }
    }
    if (end != begin) {
        memmove(&leaves->items[begin], &leaves->items[end],
                (leaves->count - end) * sizeof(*leaves->items));
        leaves->count -= end - begin;
    }
    if (has_below) {
        core_leaves_insert(leaves, &below);
    }
    if (has_above) {
        core_leaves_insert(leaves, &above);
    }
}

uint64_t core_leaves_bytes(const struct core_leaves *leaves, uint64_t first, uint64_t last)
{
    uint64_t bytes = 0;

    for (size_t i = core_leaves_index(leaves, first);
         i < leaves->count && leaves->items[i].first <= last; i++) {
        struct core_leaf part = core_leaf_part(&leaves->items[i], first, last);

        bytes += part.last - part.first + 1;
    }
    return bytes;
}

void core_leaves_free(struct core_leaves *leaves)
{
    free(leaves->items);
    *leaves = (struct core_leaves){0};
}

void core_gone_add(struct core_gone_list *gone, unsigned int gather, const struct core_leaf *leaf)
{
    if (gone->count == gone->room) {
        gone->room = 2 * gone->room + 64;
        gone->items = realloc(gone->items, gone->room * sizeof(*gone->items));
    }
    gone->items[gone->count++] = (struct core_gone){.leaf = *leaf, .gather = gather};
}

void core_gone_drop(struct core_gone_list *gone, unsigned int gather)
{
    size_t kept = 0;

    for (size_t i = 0; i < gone->count; i++) {
        if (gone->items[i].gather != gather) {
            gone->items[kept++] = gone->items[i];
        }
    }
    gone->count = kept;
}

bool core_gone_overlap(const struct core_gone_list *gone, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < gone->count; i++) {
        if (gone->items[i].leaf.first <= last && gone->items[i].leaf.last >= first) {
            return true;
        }
    }
    return false;
}

/* ---- Verdicts ---- */

void core_must(struct core_verdict *verdict, bool condition, int error)
{
    if (condition) {
        CORE_CHECK(verdict->must_count < CORE_ERRORS);
        verdict->must[verdict->must_count++] = error;
    }
}

void core_may(struct core_verdict *verdict, bool condition, int error)
{
    if (condition) {
        CORE_CHECK(verdict->may_count < CORE_ERRORS);
        verdict->may[verdict->may_count++] = error;
    }
}

static bool is_among(const int *errors, size_t count, int error)
{
    for (size_t i = 0; i < count; i++) {
        if (errors[i] == error) {
            return true;
        }
    }
    return false;
}

static bool may_be_injected(const struct core_world *world, int error)
{
    static const int of_backends[] = {-PIOMMU_EIO,    -PIOMMU_EFAILED, -PIOMMU_EBLOCKED,
                                      -PIOMMU_ENOMEM, -PIOMMU_ENOSPC,  -PIOMMU_ETIMEDOUT,
                                      -PIOMMU_EAGAIN};

    /* The way back has failed, too. */
    if (error == -PIOMMU_EBLOCKED) {
        return world->attaches_failed > 1;
    }
    return (world->injected_allocation && error == -PIOMMU_ENOMEM) ||
           (world->injected_backend &&
            is_among(of_backends, sizeof(of_backends) / sizeof(of_backends[0]), error));
}

void core_judge(const struct core_world *world, const struct core_verdict *verdict, int result)
{
    bool fine = result == 0 || result == -PIOMMU_EAGAIN ? verdict->must_count == 0 : false;

    fine = fine || is_among(verdict->must, verdict->must_count, result) ||
           is_among(verdict->may, verdict->may_count, result) || may_be_injected(world, result);
    if (!fine) {
        fprintf(stderr, "%s returned %d (%s); expected %s:", world->call, result,
                piommu_strerror(result), verdict->must_count == 0 ? "0 or" : "one of");
        for (size_t i = 0; i < verdict->must_count; i++) {
            fprintf(stderr, " %d", verdict->must[i]);
        }
        for (size_t i = 0; i < verdict->may_count; i++) {
            fprintf(stderr, " (%d)", verdict->may[i]);
        }
        fprintf(stderr, "\n");
    }
    CORE_CHECK(fine);
}

/* ---- Who is where ---- */

unsigned int core_group_of(const struct core_world *world, const struct core_device *device)
{
    unsigned int mask = 0;

    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL && world->devices[i].group == device->group) {
            mask |= 1u << i;
        }
    }
    return mask;
}

unsigned int core_units_of(const struct core_world *world, unsigned int devices)
{
    unsigned int mask = 0;

    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        for (size_t j = 0; (devices & (1u << i)) != 0 && j < world->devices[i].id_count; j++) {
            mask |= 1u << world->devices[i].ids[j].unit;
        }
    }
    return mask;
}

static bool is_paging(const struct core_domain *domain)
{
    return domain->type == PIOMMU_DOMAIN_PAGING || domain->type == PIOMMU_DOMAIN_DMA ||
           domain->type == PIOMMU_DOMAIN_DEFERRED;
}

bool core_is_direct(const struct core_domain *domain, const struct piommu_reserved_region *region)
{
    return is_paging(domain) && (region->kind == PIOMMU_RESERVED_DIRECT ||
                                 (region->kind == PIOMMU_RESERVED_RELAXABLE && domain->relaxable));
}

/* The device that is being added counts, if policy puts it into a domain at once. */
static bool is_moving(const struct core_world *world, const struct core_device *device)
{
    return (world->moving & (1u << device->number)) != 0;
}

static bool is_member(const struct core_world *world, const struct core_device *device,
                      const struct core_domain *domain)
{
    return (device->handle != NULL && device->domain == (int)domain->number) ||
           (is_moving(world, device) && world->target == (int)domain->number);
}

static bool ranges_meet(const struct piommu_range *range, uint64_t first, uint64_t last)
{
    return range->first <= last && range->last >= first;
}

bool core_fixed_overlap(const struct core_world *world, const struct core_domain *domain,
                        uint64_t first, uint64_t last)
{
    if (core_leaves_overlap(&domain->doorbells, first, last)) {
        return true;
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *device = &world->devices[i];

        for (size_t j = 0; is_member(world, device, domain) && j < device->region_count; j++) {
            if (core_is_direct(domain, &device->regions[j]) &&
                ranges_meet(&device->regions[j].range, first, last)) {
                return true;
            }
        }
    }
    return false;
}

bool core_reserved_overlap(const struct core_world *world, const struct core_domain *domain,
                           uint64_t first, uint64_t last)
{
    if (domain->has_window && ranges_meet(&domain->window, first, last)) {
        return true;
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *device = &world->devices[i];

        for (size_t j = 0; is_member(world, device, domain) && j < device->region_count; j++) {
            if ((device->regions[j].kind != PIOMMU_RESERVED_RELAXABLE || domain->relaxable) &&
                ranges_meet(&device->regions[j].range, first, last)) {
                return true;
            }
        }
    }
    return false;
}

bool core_touches_failed(const struct core_world *world, const struct core_domain *domain)
{
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        if (((domain->units | domain->haunted) & (1u << i)) != 0 &&
            world->units[i].state == PIOMMU_INSTANCE_FAILED) {
            return true;
        }
    }
    return false;
}

bool core_has_devices(const struct core_world *world, const struct core_domain *domain)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL && world->devices[i].domain == (int)domain->number) {
            return true;
        }
    }
    return false;
}

bool core_has_active(const struct core_world *world, const struct core_domain *domain)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *device = &world->devices[i];

        for (size_t j = 0; device->handle != NULL && j < device->id_count; j++) {
            if (device->domain == (int)domain->number && device->ids[j].attached) {
                return true;
            }
        }
    }
    return false;
}

void core_limit_domain(const struct core_world *world, struct core_domain *domain)
{
    struct piommu_domain_info info;

    domain->units = domain->home;
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL && world->devices[i].domain == (int)domain->number) {
            domain->units |= core_units_of(world, 1u << i);
        }
    }
    domain->aperture = (struct piommu_range){0, UINT64_MAX};
    domain->granule = 0;
    domain->prot = PIOMMU_PROT_ALL;
    domain->write_only = true;
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        const struct piommu_backend_info *backend = mock_info(world->units[i].mock);
        uint64_t granule = backend->leaf_sizes & -backend->leaf_sizes;

        if ((domain->units & (1u << i)) == 0) {
            continue;
        }
        if (backend->aperture.last < domain->aperture.last) {
            domain->aperture.last = backend->aperture.last;
        }
        if (granule > domain->granule) {
            domain->granule = granule;
        }
        domain->prot &= backend->prot;
        domain->write_only = domain->write_only && backend->write_only;
    }
    /* A unit of which it is not known whether it is still in the domain. */
    if (domain->haunted != 0) {
        piommu_domain_get_info(domain->handle, &info);
        domain->aperture = info.aperture;
        domain->granule = info.granule;
        domain->prot = info.prot;
        domain->write_only = info.write_only;
    }
}

/* ---- What may be reached ---- */

static bool leaf_grants(const struct core_leaf *leaf, uint64_t iova, bool write, uint64_t physical)
{
    return leaf->first <= iova && iova <= leaf->last &&
           leaf->physical + (iova - leaf->first) == physical &&
           (leaf->prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0;
}

static bool list_grants(const struct core_leaves *leaves, uint64_t iova, bool write,
                        uint64_t physical)
{
    const struct core_leaf *leaf = core_leaves_at(leaves, iova);

    return leaf != NULL && leaf_grants(leaf, iova, write, physical);
}

/* A unit that did not stop goes on caching in what it shares with others. */
static bool gone_grants(const struct core_world *world, const struct core_domain *domain,
                        uint64_t iova, bool write, uint64_t physical)
{
    bool doubt = core_in_doubt(world);

    for (size_t i = 0; i < domain->gone.count; i++) {
        const struct core_gone *gone = &domain->gone.items[i];

        if ((!gone->forgotten || doubt) && leaf_grants(&gone->leaf, iova, write, physical)) {
            return true;
        }
    }
    return false;
}

static bool domain_grants(const struct core_world *world, int number, uint64_t iova, bool write,
                          uint64_t physical)
{
    const struct core_domain *domain = number >= 0 ? &world->domains[number] : NULL;

    if (domain == NULL) {
        return false;
    }
    if (domain->type == PIOMMU_DOMAIN_IDENTITY) {
        return physical == iova;
    }
    if (list_grants(&domain->leaves, iova, write, physical) ||
        list_grants(&domain->doorbells, iova, write, physical) ||
        gone_grants(world, domain, iova, write, physical)) {
        return true;
    }
    for (size_t i = 0; i < world->extra_count; i++) {
        if (world->extras[i].domain == (unsigned int)number &&
            leaf_grants(&world->extras[i].leaf, iova, write, physical)) {
            return true;
        }
    }
    for (unsigned int i = 0; physical == iova && i < CORE_DEVICES; i++) {
        const struct core_device *device = &world->devices[i];

        for (size_t j = 0; is_member(world, device, domain) && j < device->region_count; j++) {
            if (core_is_direct(domain, &device->regions[j]) &&
                ranges_meet(&device->regions[j].range, iova, iova)) {
                return true;
            }
        }
    }
    return false;
}

/* One access; ends the test if it succeeds and should not. True if it succeeds. */
static bool try_access(struct core_world *world, unsigned int unit, uint32_t id, uint64_t iova,
                       bool write)
{
    bool known = false;
    uint64_t physical;

    if (!mock_reaches(world->units[unit].mock, id, iova, write, &physical)) {
        return false;
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *device = &world->devices[i];

        if (device->handle == NULL && !is_moving(world, device)) {
            continue;
        }
        for (size_t j = 0; j < device->id_count; j++) {
            if (device->ids[j].unit != unit || device->ids[j].id != id) {
                continue;
            }
            /* One that waits, or is being added, has not been told to its unit, maybe. */
            known = known || (device->handle != NULL && !device->waiting);
            if (device->ids[j].doubtful) {
                return true;
            }
            if (domain_grants(world, device->domain, iova, write, physical) ||
                (is_moving(world, device) &&
                 domain_grants(world, world->target, iova, write, physical))) {
                return true;
            }
        }
    }
    if (!known && physical == iova && (world->config[0] & 1) != 0) {
        return true; /* an ID that nobody has added, and the policy is to leave it */
    }
    fprintf(stderr, "ID %" PRIu32 " of unit %u reaches 0x%" PRIx64 " at 0x%" PRIx64 " (%s)\n", id,
            unit, physical, iova, write ? "write" : "read");
    CORE_CHECK(false);
}

/* An address that a domain has, or had until now, or one beside it. */
static bool choose_mapped_address(struct core_world *world, const struct core_domain *domain,
                                  uint64_t *address)
{
    uint64_t random = core_random(&world->random);
    const struct core_leaf *leaf;
    uint64_t size;

    if (domain->gone.count != 0 && random % 2 == 0) {
        leaf = &domain->gone.items[(random >> 8) % domain->gone.count].leaf;
    } else if (domain->leaves.count != 0) {
        leaf = &domain->leaves.items[(random >> 8) % domain->leaves.count];
    } else {
        return false;
    }
    size = leaf->last - leaf->first + 1;
    *address = leaf->first + (random >> 24) % size;
    if ((random >> 60) == 0) {
        *address = leaf->first - 1;
    } else if ((random >> 60) == 1) {
        *address = leaf->last + 1;
    }
    return true;
}

static uint64_t choose_address(struct core_world *world, const struct core_device *device)
{
    static const uint64_t places[] = {
        DIRECT_A, DIRECT_A + 0x8000, DIRECT_B + 0x1000, RELAXABLE, RESERVED, MSI_REGION, SECRET,
        0,        0x40000000,        0x8fffff000ull};
    uint64_t random = core_random(&world->random);
    uint64_t address;

    if (random % 8 == 0) {
        return places[(random >> 8) % (sizeof(places) / sizeof(places[0]))];
    }
    if (random % 8 < 5 && device->handle != NULL && device->domain >= 0 &&
        choose_mapped_address(world, &world->domains[device->domain], &address)) {
        return address;
    }
    return world->spots[(random >> 8) % CORE_SPOTS] + ((random >> 32) & 0xfff);
}

static bool is_device_in(const struct core_world *world, const struct core_device *device,
                         const struct core_id *id)
{
    return mock_is_attached(world->units[id->unit].mock, id->id) && device->handle != NULL;
}

static bool needs_region(const struct core_world *world, const struct core_device *device,
                         const struct piommu_reserved_region *region)
{
    bool moving = is_moving(world, device);
    const struct core_domain *now = device->domain >= 0 ? &world->domains[device->domain] : NULL;
    const struct core_domain *next =
        moving && world->target >= 0 ? &world->domains[world->target] : NULL;

    return (now != NULL || next != NULL) && (now == NULL || core_is_direct(now, region)) &&
           (next == NULL || core_is_direct(next, region));
}

/* Another device, which stays when this one is removed, has the ID too. */
static bool is_alias(const struct core_world *world, const struct core_device *device,
                     const struct core_id *id)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *other = &world->devices[i];

        for (size_t j = 0; other != device && other->handle != NULL && j < other->id_count; j++) {
            if (other->ids[j].unit == id->unit && other->ids[j].id == id->id) {
                return true;
            }
        }
    }
    return false;
}

/* Nothing is promised of a unit that has not stopped as it should, maybe in this call. */
static bool may_be_lost(const struct core_world *world, unsigned int unit)
{
    return world->units[unit].state == PIOMMU_INSTANCE_FAILED ||
           ((world->silent_unit || world->backend_kth != 0) && world->backend_unit == unit);
}

/* Direct regions never fault while a device is in a domain. */
static void check_direct(struct core_world *world, bool steady)
{
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *device = &world->devices[i];
        const struct core_id *id;
        size_t j;
        uint64_t physical;
        uint64_t iova;

        if (device->handle == NULL || device->region_count == 0) {
            continue;
        }
        j = (size_t)core_random(&world->random) % device->region_count;
        id = &device->ids[core_random(&world->random) % device->id_count];
        /* Where the hardware is told each mapping, it learns them after the device has entered. */
        if (!needs_region(world, device, &device->regions[j]) ||
            (!steady && world->units[id->unit].kind != PIOMMU_BACKEND_TABLES) ||
            !is_device_in(world, device, id) ||
            (is_moving(world, device) && is_alias(world, device, id)) ||
            may_be_lost(world, id->unit)) {
            continue;
        }
        iova = core_random(&world->random) % 2 == 0 ? device->regions[j].range.first
                                                    : device->regions[j].range.last;
        CORE_CHECK(mock_reaches(world->units[id->unit].mock, id->id, iova, false, &physical));
        CORE_CHECK(physical == iova);
        CORE_CHECK(mock_reaches(world->units[id->unit].mock, id->id, iova, true, &physical));
        CORE_CHECK(physical == iova);
    }
}

static void probe_at_random(struct core_world *world, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        uint64_t random = core_random(&world->random);
        const struct core_device *device = &world->devices[random % CORE_DEVICES];
        unsigned int unit = (unsigned int)(random >> 8) % CORE_UNITS;
        uint32_t id = 1 + (uint32_t)(random >> 16) % (CORE_HOST_IDS + 2);

        if (device->handle != NULL && (random >> 24) % 8 != 0) {
            const struct core_id *own = &device->ids[(random >> 32) % device->id_count];

            unit = own->unit;
            id = own->id;
        }
        try_access(world, unit, id, choose_address(world, device), (random >> 40) % 2 == 0);
    }
}

static void observe(void *ctx)
{
    struct core_world *world = ctx;

    if (!world->quiet_time) {
        probe_at_random(world, 6);
        check_direct(world, false);
    }
}

/* What a device is granted it reaches, with all its IDs. */
static void check_reach(struct core_world *world, const struct core_device *device)
{
    const struct core_domain *domain = &world->domains[device->domain];
    const struct core_leaf *leaf;
    uint64_t random = core_random(&world->random);
    uint64_t physical;
    uint64_t offset;

    if (domain->leaves.count == 0 || domain->type == PIOMMU_DOMAIN_IDENTITY) {
        return;
    }
    leaf = &domain->leaves.items[(random >> 8) % domain->leaves.count];
    offset = (random >> 20) % (leaf->last - leaf->first + 1);
    for (size_t i = 0; i < device->id_count; i++) {
        struct mock *mock = world->units[device->ids[i].unit].mock;

        if (!device->ids[i].attached) {
            continue;
        }
        for (unsigned int write = 0; write < 2; write++) {
            bool granted = (leaf->prot & (write != 0 ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0;
            bool reaches =
                mock_reaches(mock, device->ids[i].id, leaf->first + offset, write != 0, &physical);

            if (granted && !reaches) {
                fprintf(stderr,
                        "ID %" PRIu32 " of unit %u does not reach 0x%" PRIx64
                        " (%s; prot 0x%" PRIx32 ")\n",
                        device->ids[i].id, device->ids[i].unit, leaf->first + offset,
                        write != 0 ? "write" : "read", leaf->prot);
            }
            CORE_CHECK(!granted || reaches);
            CORE_CHECK(!reaches || physical == leaf->physical + offset);
        }
    }
}

void core_probe(struct core_world *world)
{
    world->moving = 0;
    world->target = CORE_NO_DOMAIN;
    world->extra_count = 0;
    world->choice = CORE_NO_DOMAIN;
    world->choices = 0;
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        if (world->domains[i].handle != NULL && world->domains[i].haunted != 0) {
            core_limit_domain(world, &world->domains[i]);
        }
    }
    probe_at_random(world, 8);
    check_direct(world, true);
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL && world->devices[i].domain >= 0) {
            check_reach(world, &world->devices[i]);
        }
    }
}

void core_extra_add(struct core_world *world, unsigned int domain, const struct core_leaf *leaf)
{
    CORE_CHECK(world->extra_count < CORE_EXTRAS);
    world->extras[world->extra_count++] = (struct core_extra){domain, *leaf};
}

void core_spot_add(struct core_world *world, uint64_t address)
{
    world->spots[world->spot++ % CORE_SPOTS] = address & ~(CORE_PAGE - 1);
}

/* ---- Calls ---- */

void core_begin(struct core_world *world, const char *call)
{
    struct fake_os_counters counters;

    world->call = call;
    world->number++;
    world->injected_allocation = false;
    world->injected_backend = false;
    world->ready_devices = 0;
    world->ready_instances = 0;
    fake_os_get_counters(world->os, &counters);
    world->fallible_before = counters.fallible_calls;
    world->backend_before = mock_fallible_calls(world->units[world->backend_unit].mock);
    if (world->allocation_kth != 0) {
        fake_os_fail_call(world->os, world->allocation_kth, false);
    }
    if (world->silent_unit) {
        mock_never_answer(world->units[world->backend_unit].mock, true);
    } else if (world->attach_failures != 0) {
        world->attaches_before = mock_counters(world->units[world->backend_unit].mock)->attach;
        mock_fail_attaches(world->units[world->backend_unit].mock, world->attach_failures,
                           -PIOMMU_EIO);
    } else if (world->backend_kth != 0) {
        mock_fail_call(world->units[world->backend_unit].mock, world->backend_kth,
                       world->backend_error, false);
    }
}

void core_end(struct core_world *world, int result)
{
    struct mock *mock = world->units[world->backend_unit].mock;
    uint64_t calls = mock_fallible_calls(mock) - world->backend_before;
    struct fake_os_counters counters;

    fake_os_get_counters(world->os, &counters);
    world->injected_allocation =
        world->allocation_kth != 0 &&
        counters.fallible_calls - world->fallible_before >= world->allocation_kth;
    world->injected_backend =
        world->silent_unit ? calls != 0 : world->backend_kth != 0 && calls >= world->backend_kth;
    world->attaches_failed = 0;
    if (!world->silent_unit && world->attach_failures != 0) {
        uint64_t attaches = mock_counters(mock)->attach - world->attaches_before;

        world->attaches_failed =
            attaches < world->attach_failures ? (unsigned int)attaches : world->attach_failures;
        world->injected_backend = attaches != 0;
        mock_fail_attaches(mock, 0, 0);
    }
    fake_os_fail_call(world->os, 0, false);
    fake_os_forbid(world->os, 0);
    mock_never_answer(mock, false);
    mock_fail_call(mock, 0, 0, false);
    world->faults_injected += core_injected(world);
    world->disturbed = world->disturbed || core_injected(world);
    if (world->injected_backend) {
        world->disturbed_units |= 1u << world->backend_unit;
    }
    core_say(world, " = %d%s%s\n", result, world->injected_allocation ? ", out of memory" : "",
             world->injected_backend ? ", the backend has failed" : "");
    /* What was to fail waits for a call that it concerns, but not for ever. */
    if (core_injected(world) || world->patience-- == 0) {
        world->allocation_kth = 0;
        world->backend_kth = 0;
        world->silent_unit = false;
        world->attach_failures = 0;
    }
}

bool core_injected(const struct core_world *world)
{
    return world->injected_allocation || world->injected_backend;
}

/* ---- What the library says ---- */

static void check_unit(struct core_world *world, const struct core_unit *unit)
{
    struct piommu_instance_info info;
    const struct piommu_backend_info *told = mock_info(unit->mock);

    memset(&info, 0x5a, sizeof(info));
    piommu_instance_get_info(unit->instance, &info);
    CORE_CHECK(strcmp(info.name, unit->name) == 0);
    CORE_CHECK(strcmp(info.backend, mock_backend(unit->mock)->name) == 0);
    CORE_CHECK(info.state == unit->state);
    /* One that has failed may never have started. */
    if (unit->state == PIOMMU_INSTANCE_WAITING || unit->state == PIOMMU_INSTANCE_FAILED) {
        return;
    }
    CORE_CHECK(info.owner == (const void *)unit);
    CORE_CHECK(info.aperture.first == told->aperture.first);
    CORE_CHECK(info.aperture.last == told->aperture.last);
    CORE_CHECK(info.granule == (told->leaf_sizes & -told->leaf_sizes));
    CORE_CHECK(info.tables == (unit->kind == PIOMMU_BACKEND_TABLES));
    CORE_CHECK(info.identity == told->identity);
    CORE_CHECK(info.atomic_switch == told->atomic_switch);
    CORE_CHECK(info.suspend == unit->can_suspend);
    CORE_CHECK(info.failed == (unit->state == PIOMMU_INSTANCE_FAILED));
    CORE_CHECK(info.faults == unit->faults);
    CORE_CHECK(info.faults_held_back == unit->held_back);
    CORE_CHECK(info.faults_dropped == unit->dropped);
    (void)world;
}

static enum piommu_id_state expected_state(const struct core_world *world,
                                           const struct core_device *device,
                                           const struct core_id *id)
{
    const struct core_unit *unit = &world->units[id->unit];

    if (unit->instance == NULL || unit->state == PIOMMU_INSTANCE_WAITING) {
        return PIOMMU_ID_WAITING;
    }
    if (id->doubtful) {
        return PIOMMU_ID_DOUBTFUL;
    }
    /* It will, when its unit is awake again. */
    if (unit->state == PIOMMU_INSTANCE_SUSPENDED) {
        return device->domain >= 0 && !device->fault_blocked ? PIOMMU_ID_ATTACHED
                                                             : PIOMMU_ID_BLOCKED;
    }
    return id->attached ? PIOMMU_ID_ATTACHED : PIOMMU_ID_BLOCKED;
}

static bool same_region(const struct piommu_reserved_region *a,
                        const struct piommu_reserved_region *b)
{
    return a->kind == b->kind && a->range.first == b->range.first && a->range.last == b->range.last;
}

/* The host's regions come in order, and first; the hardware's in any order. */
static void check_regions(const struct core_device *device)
{
    struct piommu_reserved_region region;
    bool seen[CORE_REGIONS] = {false};

    for (size_t i = 0; i < device->region_count; i++) {
        size_t j = i < device->host_regions ? i : device->host_regions;

        CORE_CHECK(piommu_device_reserved_region(device->handle, i, &region) == 0);
        while (j < device->region_count &&
               (seen[j] || !same_region(&region, &device->regions[j]))) {
            j++;
        }
        CORE_CHECK(j < device->region_count);
        CORE_CHECK(i >= device->host_regions || j == i);
        seen[j] = true;
    }
    CORE_CHECK(piommu_device_reserved_region(device->handle, device->region_count, &region) ==
               -PIOMMU_ENOENT);
}

static bool any_failed(const struct core_world *world, unsigned int units)
{
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        if ((units & (1u << i)) != 0 && world->units[i].state == PIOMMU_INSTANCE_FAILED) {
            return true;
        }
    }
    return false;
}

static void check_ids(const struct core_world *world, const struct core_device *device)
{
    struct piommu_id_info info;

    for (size_t i = 0; i < device->id_count; i++) {
        const struct core_id *id = &device->ids[i];

        CORE_CHECK(piommu_device_get_id(device->handle, i, &info) == 0);
        CORE_CHECK(info.id == id->id);
        if (!device->waiting || expected_state(world, device, id) == PIOMMU_ID_WAITING) {
            /* How far a detach came that failed on the way can be seen when its unit wakes up. */
            CORE_CHECK(info.state == expected_state(world, device, id) ||
                       (world->units[id->unit].state == PIOMMU_INSTANCE_SUSPENDED &&
                        (any_failed(world, core_units_of(world, core_group_of(world, device))) ||
                         (device->domain >= 0 && world->domains[device->domain].haunted != 0))));
        }
        CORE_CHECK(device->waiting || id->doubtful ||
                   id->attached == mock_is_attached(world->units[id->unit].mock, id->id));
        if (info.state != PIOMMU_ID_WAITING) {
            CORE_CHECK(info.instance == world->units[id->unit].instance);
        }
        CORE_CHECK(!id->by_key || info.key == world->units[id->unit].key);
    }
    CORE_CHECK(piommu_device_get_id(device->handle, device->id_count, &info) == -PIOMMU_ENOENT);
}

static void check_device(struct core_world *world, const struct core_device *device)
{
    struct piommu_device_info info;

    memset(&info, 0x5a, sizeof(info));
    piommu_device_get_info(device->handle, &info);
    CORE_CHECK(strcmp(info.name, device->name) == 0);
    CORE_CHECK(info.owner == (const void *)device);
    CORE_CHECK(info.waiting == device->waiting);
    CORE_CHECK(info.id_count == device->id_count);
    CORE_CHECK(info.group == device->group);
    CORE_CHECK(piommu_device_group(device->handle) == device->group);
    CORE_CHECK(info.domain == (device->domain >= 0 ? world->domains[device->domain].handle : NULL));
    CORE_CHECK(info.fault_blocked == device->fault_blocked);
    check_ids(world, device);
    if (!device->waiting) {
        check_regions(device);
    }
}

/* IDs that are in the domain; false if what counts is not clear. */
static bool count_endpoints(const struct core_world *world, const struct core_domain *domain,
                            uint32_t *count)
{
    unsigned int seen[CORE_UNITS] = {0};

    *count = 0;
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *device = &world->devices[i];

        for (size_t j = 0; device->handle != NULL && device->domain == (int)domain->number &&
                           j < device->id_count;
             j++) {
            const struct core_id *id = &device->ids[j];

            if (!id->attached) {
                return false;
            }
            if ((seen[id->unit] & (1u << id->id)) == 0) {
                seen[id->unit] |= 1u << id->id;
                ++*count;
            }
        }
    }
    return true;
}

static void check_domain(struct core_world *world, struct core_domain *domain)
{
    struct piommu_domain_info info;
    struct piommu_domain_statistics statistics;
    uint32_t endpoints;

    if (domain->haunted != 0) {
        core_limit_domain(world, domain);
    }
    memset(&info, 0x5a, sizeof(info));
    piommu_domain_get_info(domain->handle, &info);
    CORE_CHECK(info.type == domain->type);
    CORE_CHECK(strcmp(info.name, domain->name) == 0);
    CORE_CHECK(info.owner == (const void *)domain);
    if (is_paging(domain)) {
        CORE_CHECK(info.aperture.first == domain->aperture.first);
        CORE_CHECK(info.aperture.last == domain->aperture.last);
        CORE_CHECK(info.granule == domain->granule);
        CORE_CHECK(info.prot == domain->prot);
        CORE_CHECK(info.write_only == domain->write_only);
    }
    if (domain->type == PIOMMU_DOMAIN_DEFERRED) {
        CORE_CHECK(info.populated == domain->populated);
    }
    piommu_domain_get_statistics(domain->handle, &statistics);
    if (is_paging(domain)) {
        CORE_CHECK(statistics.mapped ==
                   (domain->disjoint ? 0 : core_leaves_bytes(&domain->leaves, 0, UINT64_MAX)));
    }
    CORE_CHECK(!domain->disjoint || (statistics.maps == 0 && statistics.unmaps == 0));
    CORE_CHECK(statistics.maps >= domain->statistics.maps);
    CORE_CHECK(statistics.unmaps >= domain->statistics.unmaps);
    CORE_CHECK(statistics.syncs >= domain->statistics.syncs);
    /* An ID in doubt may count where it was to go. */
    if (count_endpoints(world, domain, &endpoints) && domain->haunted == 0) {
        CORE_CHECK(statistics.endpoints == endpoints);
    }
    domain->statistics = statistics;
}

bool core_in_doubt(const struct core_world *world)
{
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        if (world->units[i].instance != NULL && world->units[i].state == PIOMMU_INSTANCE_FAILED &&
            !mock_has_stopped(world->units[i].mock)) {
            return true;
        }
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        const struct core_device *device = &world->devices[i];

        for (size_t j = 0; device->handle != NULL && j < device->id_count; j++) {
            if (device->ids[j].doubtful) {
                return true;
            }
        }
    }
    return false;
}

void core_check_all(struct core_world *world)
{
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        if (world->units[i].instance != NULL) {
            check_unit(world, &world->units[i]);
        }
        CORE_CHECK(mock_conflicts(world->units[i].mock) == 0);
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL) {
            check_device(world, &world->devices[i]);
        }
    }
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        if (world->domains[i].handle != NULL) {
            check_domain(world, &world->domains[i]);
        }
    }
}

void core_check_some(struct core_world *world)
{
    uint64_t random = core_random(&world->random);
    struct core_device *device = &world->devices[random % CORE_DEVICES];
    struct core_domain *domain = &world->domains[(random >> 8) % CORE_DOMAINS];
    struct core_unit *unit = &world->units[(random >> 16) % CORE_UNITS];

    if (device->handle != NULL) {
        check_device(world, device);
    }
    if (domain->handle != NULL) {
        check_domain(world, domain);
    }
    if (unit->instance != NULL) {
        check_unit(world, unit);
    }
}

static int find_domain(const struct core_world *world, const struct piommu_domain *handle)
{
    for (unsigned int i = 0; handle != NULL && i < CORE_DOMAINS; i++) {
        if (world->domains[i].handle == handle) {
            return (int)i;
        }
    }
    CORE_CHECK(handle == NULL);
    return CORE_NO_DOMAIN;
}

static void adopt_device(struct core_world *world, struct core_device *device)
{
    bool moving = is_moving(world, device);
    bool failed = any_failed(world, core_units_of(world, core_group_of(world, device)));
    struct piommu_device_info info;
    int domain;

    piommu_device_get_info(device->handle, &info);
    domain = find_domain(world, info.domain);
    CORE_CHECK(domain == device->domain || (moving && domain == world->target) ||
               (failed && domain == CORE_NO_DOMAIN));
    CORE_CHECK(info.fault_blocked == device->fault_blocked || moving || failed);
    if (device->domain >= 0 && (failed || domain != device->domain)) {
        world->domains[device->domain].haunted |= core_units_of(world, 1u << device->number);
    }
    device->domain = domain;
    device->fault_blocked = info.fault_blocked;
    for (size_t i = 0; i < device->id_count; i++) {
        const struct core_unit *unit = &world->units[device->ids[i].unit];
        bool can_be = domain >= 0 && !device->fault_blocked &&
                      unit->state == PIOMMU_INSTANCE_RUNNING && unit->instance != NULL;
        struct piommu_id_info id;

        CORE_CHECK(piommu_device_get_id(device->handle, i, &id) == 0);
        device->ids[i].attached = id.state == PIOMMU_ID_ATTACHED;
        device->ids[i].doubtful = id.state == PIOMMU_ID_DOUBTFUL;
        CORE_CHECK(!device->ids[i].doubtful || unit->state == PIOMMU_INSTANCE_FAILED);
        if (unit->state == PIOMMU_INSTANCE_SUSPENDED) {
            device->ids[i].attached = false;
        }
        CORE_CHECK(can_be || !device->ids[i].attached);
        /* Only with a unit that has failed is it not said what becomes of the other IDs. */
        CORE_CHECK(!can_be || failed || world->domains[domain].haunted != 0 ||
                   device->ids[i].attached);
    }
}

void core_adopt(struct core_world *world)
{
    world->disturbed = false;
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        struct core_unit *unit = &world->units[i];
        struct piommu_instance_info info;

        if (unit->instance == NULL) {
            continue;
        }
        piommu_instance_get_info(unit->instance, &info);
        CORE_CHECK(info.state == unit->state || (info.state == PIOMMU_INSTANCE_FAILED &&
                                                 (world->disturbed_units & (1u << i)) != 0));
        unit->state = info.state;
    }
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL) {
            adopt_device(world, &world->devices[i]);
        }
    }
    if (world->target >= 0) {
        world->domains[world->target].haunted |=
            world->disturbed_units != 0 ? core_units_of(world, world->moving) : 0;
    }
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        if (world->domains[i].handle != NULL) {
            world->domains[i].scarred =
                world->domains[i].scarred || core_touches_failed(world, &world->domains[i]);
            core_limit_domain(world, &world->domains[i]);
        }
    }
    world->disturbed_units = 0;
}

/* ---- Callbacks ---- */

static struct piommu_domain *on_choose(void *cookie, const struct piommu_device *device)
{
    struct core_world *world = cookie;

    (void)device;
    world->choices++;
    return world->choice >= 0 ? world->domains[world->choice].handle : NULL;
}

static void on_instance_ready(void *cookie, struct piommu_instance *instance, int error)
{
    struct core_world *world = cookie;

    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        if (world->units[i].instance == instance) {
            CORE_CHECK((world->ready_instances & (1u << i)) == 0);
            world->ready_instances |= 1u << i;
        }
    }
    world->ready_error = error;
}

static void on_device_ready(void *cookie, struct piommu_device *device, int error)
{
    struct core_world *world = cookie;

    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle == device && error != 0) {
            world->devices[i].stuck = true; /* only its removal makes sense */
        } else if (world->devices[i].handle == device) {
            CORE_CHECK((world->ready_devices & (1u << i)) == 0);
            world->ready_devices |= 1u << i;
        }
    }
}

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct core_world *world = cookie;

    world->fault = *fault;
    world->fault_calls++;
    return world->answer;
}

static void on_trace(void *cookie, const struct piommu_event *event)
{
    struct core_world *world = cookie;

    CORE_CHECK(event->kind <= PIOMMU_EVENT_FAULT_BLOCK);
    world->events[event->kind]++;
    world->event = *event;
}

static void on_dma_free(void *ctx, uint64_t physical, uint64_t size)
{
    struct core_world *world = ctx;

    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        CORE_CHECK(!mock_walks(world->units[i].mock, physical, size));
    }
}

/* ---- Setting up ---- */

static void describe_unit(struct core_world *world, struct core_unit *unit)
{
    struct piommu_backend_info *info = mock_info(unit->mock);
    uint16_t bits = world->config[1 + unit->number];
    bool tables = unit->kind == PIOMMU_BACKEND_TABLES;

    info->atomic_switch = (bits & 0x1) == 0;
    if ((bits & 0x2) != 0) {
        info->aperture.last = (1ull << 36) - 1;
    }
    if ((bits & 0x4) != 0) {
        info->prot |= PIOMMU_PROT_DEVICE;
    }
    info->output_bits = 40;
    info->write_only = !tables && (bits & 0x8) != 0;
    info->identity = (bits & 0x70) != 0x10;
    if (!tables && (bits & 0x80) != 0) {
        info->leaf_sizes = 0x4000;
    }
    if (tables) {
        info->table.coherent_walk = (world->config[0] & 0x4) == 0;
        info->table.flags = (bits & 0x100) != 0 ? PIOMMU_PGTABLE_BBM_LEVEL_2 : 0;
    }
    if (unit->number == 2) {
        if ((bits & 0x200) != 0) {
            info->table.format = PIOMMU_ARM_64_LPAE_S2;
            info->write_only = true;
        }
        if ((bits & 0x400) != 0) {
            info->shared = (struct piommu_shared_limits){0};
        }
        if ((bits & 0x800) != 0) {
            info->table.input_bits = 37;
            info->aperture.last &= (1ull << 37) - 1;
        }
    }
    if ((bits & 0x1000) != 0 && unit->parent == 0) {
        unit->context_limit = 3;
        mock_limit_contexts(unit->mock, 3);
    }
    unit->fault_records = (bits & 0x2000) != 0 ? CORE_RECORDS : 0;
    unit->fault_limit = (bits & 0x4000) != 0 ? 3 : 0;
}

static void describe_ids(struct core_world *world, struct core_unit *unit)
{
    static const struct {
        uint32_t id;
        struct piommu_reserved_region region;
    } regions[] = {
        {5, {{DIRECT_A, DIRECT_A + 0x7fff}, PIOMMU_RESERVED_DIRECT}},
        {6, {{RESERVED, RESERVED + 0x7fff}, PIOMMU_RESERVED}},
        {7, {{MSI_REGION, MSI_REGION + 0xffff}, PIOMMU_RESERVED_MSI}},
        {8, {{RELAXABLE, RELAXABLE + 0x3fff}, PIOMMU_RESERVED_RELAXABLE}},
        {5, {{RELAXABLE, RELAXABLE + 0x3fff}, PIOMMU_RESERVED_RELAXABLE}},
    };

    for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
        mock_add_reserved(unit->mock, regions[i].id, &regions[i].region);
    }
    if ((world->config[0] & 0x8) != 0) {
        mock_set_group(unit->mock, 3, 7);
        mock_set_group(unit->mock, 4, 7);
    }
}

static void make_units(struct core_world *world)
{
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        struct core_unit *unit = &world->units[i];

        unit->number = i;
        unit->kind = i < 3 ? PIOMMU_BACKEND_TABLES : PIOMMU_BACKEND_REQUESTS;
        unit->parent = i == 1 ? 1 : 0;
        unit->key = 100 + i;
        snprintf(unit->name, sizeof(unit->name), "unit%u", i);
        unit->mock = unit->parent != 0 ? mock_create_child(world->units[0].mock)
                                       : mock_create(world->os, unit->kind);
        describe_unit(world, unit);
        describe_ids(world, unit);
        unit->can_suspend = (world->config[1 + (i == 1 ? 0 : i)] & 0x8000) == 0;
        unit->has_block_now = (world->config[6] & (1u << (i == 1 ? 0 : i))) != 0;
        mock_set_suspend(unit->mock, unit->can_suspend);
        mock_set_block_now(unit->mock, unit->has_block_now);
        mock_set_failed_attach(unit->mock, (enum mock_failed_attach)((world->config[6] >> 8) % 3));
        mock_observe(unit->mock, observe, world);
    }
    /* The parts of one unit walk the same tables. */
    mock_info(world->units[1].mock)->table = mock_info(world->units[0].mock)->table;
}

struct core_world *core_world_create(const uint16_t *config, uint64_t seed, bool verbose)
{
    struct core_world *world = calloc(1, sizeof(*world));
    struct fake_os_options options = {.scattered = (config[0] & 0x2) != 0,
                                      .non_coherent = (config[0] & 0x4) != 0,
                                      .seed = (uint32_t)seed};
    struct piommu_context_config context = {
        .cookie = world,
        .fault = (config[0] & 0x10) != 0 ? NULL : on_fault,
        .choose_domain = on_choose,
        .instance_ready = on_instance_ready,
        .device_ready = on_device_ready,
        .trace = on_trace,
    };

    memcpy(world->config, config, sizeof(world->config));
    world->verbose = verbose;
    world->random = seed;
    world->target = CORE_NO_DOMAIN;
    world->choice = CORE_NO_DOMAIN;
    world->os = fake_os_create(&options);
    fake_os_on_dma_free(world->os, on_dma_free, world);
    make_units(world);
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        world->devices[i].number = i;
        world->devices[i].domain = CORE_NO_DOMAIN;
        snprintf(world->devices[i].name, sizeof(world->devices[i].name), "dev%u", i);
    }
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        world->domains[i].number = i;
        snprintf(world->domains[i].name, sizeof(world->domains[i].name), "dom%u", i);
    }
    current = world;
    CORE_CHECK(piommu_context_create(fake_os_host(world->os), &context, &world->context) == 0);
    return world;
}

void core_world_print(const struct core_world *world)
{
    core_say(world, "context: unknown IDs are %s, memory is %s%s, ID 3 and 4 %s group, %s\n",
             (world->config[0] & 1) != 0 ? "left" : "blocked",
             (world->config[0] & 2) != 0 ? "scattered" : "linear",
             (world->config[0] & 4) != 0 ? ", walkers do not snoop" : "",
             (world->config[0] & 8) != 0 ? "are one" : "have no",
             (world->config[0] & 16) != 0 ? "no fault callback" : "a fault callback");
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        const struct core_unit *unit = &world->units[i];
        const struct piommu_backend_info *info = mock_info(unit->mock);

        core_say(world,
                 "%s: %s%s, aperture to 0x%" PRIx64 ", leaf sizes 0x%" PRIx64 ", prot 0x%" PRIx32
                 "%s%s%s%s%s, table format %d, flags 0x%x, %u input bits, %u contexts, fault "
                 "limit %u, %u records\n",
                 unit->name, unit->kind == PIOMMU_BACKEND_TABLES ? "tables" : "requests",
                 unit->parent != 0 ? ", child of unit0" : "", info->aperture.last, info->leaf_sizes,
                 info->prot, info->write_only ? ", write only" : "",
                 info->identity ? "" : ", no identity",
                 info->atomic_switch ? "" : ", no atomic switch",
                 unit->can_suspend ? "" : ", no suspend", unit->has_block_now ? ", block_now" : "",
                 (int)info->table.format, (unsigned int)info->table.flags,
                 (unsigned int)info->table.input_bits, unit->context_limit, unit->fault_limit,
                 unit->fault_records);
    }
}

void core_free_cpu_table(struct core_domain *domain)
{
    if (domain->cpu_table == NULL) {
        return;
    }
    piommu_pgtable_release(domain->cpu_table, &domain->gathers[0]);
    piommu_pgtable_destroy(domain->cpu_table);
    domain->cpu_table = NULL;
}

static void take_down_domain(struct core_world *world, struct core_domain *domain)
{
    if (domain->handle == NULL) {
        return;
    }
    world->call = "destroying a domain at the end";
    for (unsigned int i = 0; domain->disjoint && i < CORE_GATHERS; i++) {
        CORE_CHECK(piommu_domain_sync(domain->handle, &domain->gathers[i]) == 0);
    }
    CORE_CHECK(piommu_domain_destroy(domain->handle) == 0);
    domain->handle = NULL;
    core_free_cpu_table(domain);
}

void core_world_destroy(struct core_world *world)
{
    world->quiet_time = true;
    world->call = "detaching at the end";
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        if (world->devices[i].handle != NULL) {
            CORE_CHECK(piommu_group_detach(piommu_device_group(world->devices[i].handle)) == 0);
        }
    }
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        take_down_domain(world, &world->domains[i]);
        core_leaves_free(&world->domains[i].leaves);
        core_leaves_free(&world->domains[i].doorbells);
        core_leaves_free(&world->domains[i].frames);
        free(world->domains[i].gone.items);
    }
    world->call = "removing a device at the end";
    for (unsigned int i = 0; i < CORE_DEVICES; i++) {
        CORE_CHECK(piommu_device_remove(world->devices[i].handle) == 0);
        world->devices[i].handle = NULL;
    }
    world->call = "destroying an instance at the end";
    for (unsigned int i = CORE_UNITS; i-- > 0;) {
        CORE_CHECK(piommu_instance_destroy(world->units[i].instance) == 0);
    }
    world->call = "destroying the context at the end";
    CORE_CHECK(piommu_context_destroy(world->context) == 0);
    fake_os_destroy(world->os);
    for (unsigned int i = CORE_UNITS; i-- > 0;) {
        mock_destroy(world->units[i].mock);
    }
    current = NULL;
    free(world);
}
