/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "dma_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY    UINT64_C(0x200000000)
#define POOL      (MEMORY + DMA_WORLD_PAGES * DMA_WORLD_PAGE)
#define REGISTERS UINT64_C(0xe0000000)
#define NEVER     UINT64_MAX

/* The shim's callbacks get the fake OS, so they have to find this. */
static struct dma_world *current;

void dma_world_say(const struct dma_world *world, const char *format, ...)
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

uint64_t dma_world_random(struct dma_world *world, uint64_t limit)
{
    world->random = world->random * 6364136223846793005u + 1442695040888963407u;
    return (world->random >> 33) % limit;
}

uint64_t dma_world_memory(uint64_t page)
{
    return MEMORY + page * DMA_WORLD_PAGE;
}

uint64_t dma_world_registers(void)
{
    return REGISTERS;
}

size_t dma_world_index(uint64_t physical)
{
    CHECK(physical >= MEMORY && physical <= POOL - 1);
    return (size_t)(physical - MEMORY);
}

static uint64_t page_of(uint64_t address)
{
    return address & ~(DMA_WORLD_PAGE - 1);
}

struct dma_world_space *dma_world_space_of(struct dma_world *world,
                                           const struct dma_world_mapping *mapping)
{
    return &world->spaces[world->devices[mapping->device].space];
}

struct dma_world_cell *dma_world_cell(struct dma_world *world, struct dma_world_space *space,
                                      uint64_t address)
{
    uint64_t page = (address - world->window) / DMA_WORLD_PAGE;

    return address >= world->window && page < DMA_WORLD_WINDOW ? &space->cells[page] : NULL;
}

uint64_t dma_world_waiting(struct dma_world_space *space)
{
    struct piommu_dma_statistics statistics;

    piommu_dma_space_get_statistics(space->space, &statistics);
    return statistics.waiting;
}

uint64_t dma_world_now(const struct dma_world *world)
{
    return fake_os_time(dma_hardware_os(world->hardware)) + world->skew;
}

/* ---- The shim ---- */

static bool find_in_pool(const struct dma_world *world, size_t pages, size_t *first)
{
    size_t found = 0;

    for (size_t page = 0; page < DMA_WORLD_POOL; page++) {
        found = world->in_pool[page] ? 0 : found + 1;
        if (found == pages) {
            *first = page + 1 - pages;
            return true;
        }
    }
    return false;
}

static void *allocate(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct dma_world *world = current;
    size_t pages = (request->size + DMA_MEMORY_PAGE - 1) / DMA_MEMORY_PAGE;
    bool is_uncached = request->purpose == PIOMMU_DMA_BUFFER_UNCACHED;
    size_t first;

    if (request->purpose != PIOMMU_DMA_BUFFER && !is_uncached) {
        return world->callbacks.dma_alloc(ctx, request, physical);
    }
    CHECK(request->alignment >= 1 && request->alignment <= DMA_MEMORY_PAGE);
    if (!find_in_pool(world, pages, &first)) {
        world->out_of_memory = true;
        return NULL;
    }
    memset(&world->in_pool[first], true, pages);
    world->piece[first] = request->size;
    *physical = POOL + first * DMA_WORLD_PAGE;
    return is_uncached ? dma_memory_uncached(world->memory, *physical)
                       : dma_memory_cached(world->memory, *physical);
}

/* Fails if a device can reach a page now. */
static void check_out_of_reach(struct dma_world *world, uint64_t physical, const char *why)
{
    for (unsigned int i = 0; i < DMA_WORLD_DEVICES * DMA_WORLD_WINDOW; i++) {
        unsigned int device = i / DMA_WORLD_WINDOW;
        uint64_t address = world->window + i % DMA_WORLD_WINDOW * DMA_WORLD_PAGE;
        uint64_t found = 0;

        if (dma_hardware_look(world->hardware, device, address, false, &found) &&
            page_of(found) == physical) {
            dma_fail("device %u reaches %#" PRIx64 " at %#" PRIx64 ", which %s", device, physical,
                     address, why);
        }
    }
}

static void release(void *ctx, void *memory, size_t size)
{
    struct dma_world *world = current;
    size_t first;

    if (!dma_memory_holds(world->memory, memory)) {
        world->callbacks.dma_free(ctx, memory, size);
        return;
    }
    first = (size_t)((dma_memory_physical(world->memory, memory) - POOL) / DMA_WORLD_PAGE);
    CHECK(first <= DMA_WORLD_POOL - 1);
    CHECK(world->piece[first] == size);
    world->piece[first] = 0;
    for (size_t i = 0; i < (size + DMA_MEMORY_PAGE - 1) / DMA_MEMORY_PAGE; i++) {
        check_out_of_reach(world, POOL + (first + i) * DMA_WORLD_PAGE, "is given back");
        world->in_pool[first + i] = false;
    }
}

static void *memory_at(void *ctx, uint64_t physical, uint64_t size)
{
    (void)ctx;
    if (!dma_memory_has(current->memory, physical, size)) {
        dma_fail("the CPU is to use %#" PRIx64 ", where there is no buffer", physical);
    }
    return dma_memory_cached(current->memory, physical);
}

static void clean(void *ctx, const void *address, size_t size)
{
    if (dma_memory_holds(current->memory, address)) {
        dma_memory_clean(current->memory, address, size);
    } else {
        current->callbacks.cache_clean(ctx, address, size);
    }
}

static void invalidate(void *ctx, const void *address, size_t size)
{
    if (dma_memory_holds(current->memory, address)) {
        dma_memory_invalidate(current->memory, address, size);
    } else {
        current->callbacks.cache_invalidate(ctx, address, size);
    }
}

static void barrier(void *ctx, enum piommu_barrier kind)
{
    if (kind != PIOMMU_BARRIER_READ) {
        dma_memory_barrier(current->memory);
    }
    current->callbacks.barrier(ctx, kind);
}

static uint64_t now(void *ctx)
{
    return current->callbacks.now(ctx) + current->skew;
}

static unsigned int which_cpu(void *ctx)
{
    (void)ctx;
    return current->cpu;
}

static void replace_callbacks(struct dma_world *world)
{
    struct piommu_os *callbacks = fake_os_callbacks(dma_hardware_os(world->hardware));

    world->callbacks = *callbacks;
    callbacks->dma_alloc = allocate;
    callbacks->dma_free = release;
    callbacks->memory_at = memory_at;
    callbacks->cache_clean = clean;
    callbacks->cache_invalidate = invalidate;
    callbacks->barrier = barrier;
    callbacks->now = now;
    callbacks->cpu = which_cpu;
}

/* ---- Making one ---- */

static void on_released(void *cookie, uint64_t address, uint64_t size)
{
    struct dma_world_space *space = cookie;

    dma_world_say(current, "  released %#" PRIx64 ", %#" PRIx64, address, size);
    for (uint64_t page = page_of(address); page < address + size; page += DMA_WORLD_PAGE) {
        struct dma_world_cell *cell = dma_world_cell(current, space, page);

        if (cell == NULL || cell->state == DMA_CELL_FREE || cell->was_released) {
            dma_fail("%#" PRIx64 " is said to be reachable no more, and was not before", page);
        } else {
            cell->was_released = true;
        }
    }
}

/*
 * The window: at 0, in the middle, at the end of what a device with 32 bits can use, or, where
 * there is more, across that.
 */
static uint64_t choose_window(uint16_t config, uint64_t last)
{
    const uint64_t size = DMA_WORLD_WINDOW * DMA_WORLD_PAGE;
    const uint64_t end = UINT64_C(0x100000000);
    const uint64_t starts[] = {0, 0x40000000, end - size,
                               last >= 2 * end - 1 ? end - size / 2 : end - size};

    return starts[config % 4];
}

static void choose_space(struct dma_world *world, unsigned int number, const uint16_t *config)
{
    static const uint32_t pages[] = {0, 1, 4, 12};
    struct dma_world_space *space = &world->spaces[number];
    bool can_be_disjoint = dma_hardware_can_be_disjoint(world->hardware);
    bool can_be_lazy = can_be_disjoint || !dma_hardware_has_tables(world->hardware);
    bool is_lazy = number == 1 && can_be_lazy && config[0] % 4 != 0;
    struct piommu_domain_info info;
    int error;

    space->domain =
        dma_hardware_domain(world->hardware, can_be_disjoint && (is_lazy || config[0] % 2 != 0));
    piommu_domain_get_info(space->domain, &info);
    CHECK(info.granule == DMA_WORLD_PAGE);
    space->write_only = info.write_only;
    world->window = choose_window(world->place, info.aperture.last);
    space->config = (struct piommu_dma_space_config){
        .domain = space->domain,
        .cpus = config[1] % (DMA_WORLD_CPUS + 1),
        .bottom_up = config[1] / 8 % 2 != 0,
        .lazy = is_lazy,
        .lazy_count = 1 + config[2] % 7u,
        .lazy_time = 1000000,
        .released = world->says_released ? on_released : NULL,
        .cookie = space,
        .bounce_pages = pages[config[2] / 8 % 4],
        .debug = config[1] / 16 % 2 != 0,
    };
    error = piommu_dma_space_create(fake_os_host(dma_hardware_os(world->hardware)), &space->config,
                                    &space->space);
    if (error != 0) {
        dma_fail("space %u cannot be created: %d; %s", number, error,
                 fake_os_last_log(dma_hardware_os(world->hardware)));
    }
    if (world->window != 0) {
        const struct piommu_range below = {DMA_WORLD_PAGE, world->window - 1};

        CHECK(piommu_dma_space_take(space->space, below) == 0);
    }
}

static uint64_t choose_mask(const struct dma_world *world, uint16_t config)
{
    uint64_t last = world->window + (DMA_WORLD_WINDOW * DMA_WORLD_PAGE - 1);

    switch (config % 4) {
    case 0:
    case 1:
        return last;
    case 2:
        return last - DMA_WORLD_WINDOW / 2 * DMA_WORLD_PAGE;
    default:
        return last - 5; /* in the middle of a page */
    }
}

static void choose_device(struct dma_world *world, unsigned int number, uint16_t config,
                          uint16_t limits)
{
    static const uint64_t sizes[] = {0, 0x1000, 0x1800, 0x3000, UINT64_MAX, 0x700};
    static const uint64_t boundaries[] = {0, 0x1000, 0x4000, 0x10000};
    struct dma_world_device *device = &world->devices[number];
    struct dma_world_space *space;
    struct piommu_reserved_region region = {.kind = PIOMMU_RESERVED};
    struct piommu_device_config is = {.name = "device", .regions = &region};

    device->space = number / (DMA_WORLD_DEVICES / DMA_WORLD_SPACES);
    space = &world->spaces[device->space];
    device->untrusted = !space->config.lazy && config % 2 != 0;
    if (config / 16 % 4 == 1) {
        device->reserved = world->window + 17 * DMA_WORLD_PAGE;
        region.range.first = device->reserved;
        region.range.last = device->reserved + (DMA_WORLD_PAGE - 1);
        is.region_count = 1;
    }
    is.untrusted = device->untrusted;
    device->config = (struct piommu_dma_device_config){
        .mask = choose_mask(world, config / 64),
        .coherent_mask = choose_mask(world, config / 256),
        .preferred = config / 1024 % 4 == 1 ? choose_mask(world, 2) : 0,
        .max_segment_size = sizes[limits % 6],
        .segment_boundary = boundaries[limits / 8 % 4],
        .non_coherent = config / 2 % 2 != 0,
    };
    device->device = dma_hardware_device(world->hardware, number, is);
    CHECK(piommu_dma_device_add(space->space, device->device, &device->config, &device->dma) == 0);
    if (device->config.max_segment_size == 0) {
        device->config.max_segment_size = 0x10000;
    }
    if (device->config.segment_boundary == 0) {
        device->config.segment_boundary = 0x100000000;
    }
    CHECK(piommu_device_attach(device->device, space->domain) == 0);
}

static void describe(const struct dma_world *world)
{
    dma_world_say(world, "%s; window at %#" PRIx64, dma_hardware_name(world->hardware),
                  world->window);
    for (unsigned int i = 0; i < DMA_WORLD_SPACES; i++) {
        const struct piommu_dma_space_config *config = &world->spaces[i].config;

        dma_world_say(world, "space %u: %s, %" PRIu32 " of %u CPUs, %" PRIu32 " bounce pages%s%s%s",
                      i, config->lazy ? "lazy" : "strict", config->lazy_count, config->cpus,
                      config->bounce_pages, config->bottom_up ? ", bottom up" : "",
                      config->debug ? ", debug" : "",
                      config->released != NULL ? ", says what it releases" : "");
    }
    for (unsigned int i = 0; i < DMA_WORLD_DEVICES; i++) {
        const struct dma_world_device *device = &world->devices[i];

        dma_world_say(world,
                      "device %u in space %u: %s, %s, masks %#" PRIx64 " and %#" PRIx64
                      ", segments of %#" PRIx64 " within %#" PRIx64 ", reserved %#" PRIx64,
                      i, device->space, device->untrusted ? "untrusted" : "trusted",
                      device->config.non_coherent ? "not snooping" : "snooping",
                      device->config.mask, device->config.coherent_mask,
                      device->config.max_segment_size, device->config.segment_boundary,
                      device->reserved);
    }
}

struct dma_world *dma_world_create(const uint16_t config[DMA_WORLD_NUMBERS], bool verbose)
{
    struct dma_world *world = calloc(1, sizeof(*world));

    CHECK(world != NULL);
    current = world;
    world->verbose = verbose;
    world->random = config[9];
    world->memory = dma_memory_create(MEMORY, DMA_WORLD_PAGES + DMA_WORLD_POOL);
    memcpy(world->truth, dma_memory_cached(world->memory, MEMORY), sizeof(world->truth));
    world->hardware = dma_hardware_open(config[0] % dma_hardware_kinds());
    replace_callbacks(world);
    world->place = config[0] / 64;
    world->says_released = config[0] / 1024 % 2 != 0;
    for (unsigned int i = 0; i < DMA_WORLD_SPACES; i++) {
        choose_space(world, i, &config[1 + i]);
    }
    for (unsigned int i = 0; i < DMA_WORLD_DEVICES; i++) {
        choose_device(world, i, config[5 + i], config[(5 + i + 1) % DMA_WORLD_NUMBERS] / 512);
    }
    describe(world);
    return world;
}

void dma_world_destroy(struct dma_world *world)
{
    struct fake_os *os = dma_hardware_os(world->hardware);

    for (unsigned int i = 0; i < DMA_WORLD_DEVICES; i++) {
        struct dma_world_device *device = &world->devices[i];

        piommu_dma_device_remove(device->dma);
        CHECK(piommu_device_detach(device->device) == 0);
        CHECK(piommu_device_remove(device->device) == 0);
    }
    for (unsigned int i = 0; i < DMA_WORLD_SPACES; i++) {
        CHECK(piommu_dma_space_destroy(world->spaces[i].space) == 0);
        CHECK(piommu_domain_destroy(world->spaces[i].domain) == 0);
    }
    for (size_t i = 0; i < DMA_WORLD_POOL; i++) {
        CHECK(!world->in_pool[i]);
    }
    *fake_os_callbacks(os) = world->callbacks;
    dma_hardware_close(world->hardware);
    dma_memory_destroy(world->memory);
    free(world);
}

/* ---- What devices do ---- */

static uint64_t translate(struct dma_world *world, const struct dma_world_mapping *mapping,
                          uint64_t address, bool write)
{
    uint64_t physical = 0;

    if (!dma_hardware_access(world->hardware, mapping->device, address, write, &physical)) {
        dma_fail("device %u cannot %s %#" PRIx64 ", which is mapped for it", mapping->device,
                 write ? "write" : "read", address);
    }
    return physical;
}

/* The bytes from an address to the end of its page, but not more than a size. */
static size_t within_page(uint64_t address, size_t size)
{
    size_t rest = (size_t)(page_of(address) + DMA_WORLD_PAGE - address);

    return rest < size ? rest : size;
}

void dma_world_device_read(struct dma_world *world, const struct dma_world_mapping *mapping,
                           uint64_t address, uint8_t *bytes, size_t size)
{
    bool snoops = !world->devices[mapping->device].config.non_coherent;

    for (size_t done = 0, part; done < size; done += part) {
        part = within_page(address + done, size - done);
        dma_memory_read(world->memory, translate(world, mapping, address + done, false), snoops,
                        bytes + done, part);
    }
}

void dma_world_device_write(struct dma_world *world, const struct dma_world_mapping *mapping,
                            uint64_t address, const uint8_t *bytes, size_t size)
{
    bool snoops = !world->devices[mapping->device].config.non_coherent;

    for (size_t done = 0, part; done < size; done += part) {
        part = within_page(address + done, size - done);
        dma_memory_write(world->memory, translate(world, mapping, address + done, true), snoops,
                         bytes + done, part);
    }
}

/* ---- What is mapped ---- */

static bool may_read(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    return mapping->direction != PIOMMU_DMA_FROM_DEVICE ||
           !dma_world_space_of(world, mapping)->write_only;
}

/* Puts what the device uses and the memory that it stands for beside each other. */
static void find_runs(struct dma_world_mapping *mapping)
{
    uint64_t listed = 0; /* bytes of the buffer that were looked at */
    size_t buffer = 0;

    mapping->run_count = 0;
    for (size_t i = 0; i < mapping->segment_count; i++) {
        uint64_t done = 0;

        while (done < mapping->segments[i].size) {
            uint64_t size = mapping->segments[i].size - done;

            if (buffer == mapping->count) {
                dma_fail("the segments are longer than the list");
            }
            if (size > mapping->list[buffer].size - listed) {
                size = mapping->list[buffer].size - listed;
            }
            mapping->runs[mapping->run_count++] = (struct dma_world_run){
                mapping->list[buffer].physical + listed, mapping->segments[i].address + done, size};
            done += size;
            listed += size;
            if (listed == mapping->list[buffer].size) {
                listed = 0;
                buffer++;
            }
        }
    }
    if (buffer != mapping->count) {
        dma_fail("the segments are shorter than the list");
    }
}

static void check_segments(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    const struct piommu_dma_device_config *limits = &world->devices[mapping->device].config;

    for (size_t i = 0; i < mapping->segment_count; i++) {
        const struct piommu_dma_segment *segment = &mapping->segments[i];
        uint64_t last = segment->address + (segment->size - 1);

        if (segment->size == 0 || segment->size > limits->max_segment_size) {
            dma_fail("a segment of %#" PRIx64 " bytes", segment->size);
        }
        if (segment->address / limits->segment_boundary != last / limits->segment_boundary) {
            dma_fail("segment %#" PRIx64 " to %#" PRIx64 " crosses a boundary", segment->address,
                     last);
        }
        if (i + 1 < mapping->segment_count && last + 1 == segment[1].address &&
            segment[1].address % limits->segment_boundary != 0 &&
            segment->size + segment[1].size <= limits->max_segment_size) {
            dma_fail("segments at %#" PRIx64 " and %#" PRIx64 " could be one", segment->address,
                     segment[1].address);
        }
    }
}

/* What must be adjacent for the device. */
static void check_runs(const struct dma_world_mapping *mapping)
{
    for (size_t i = 0; i + 1 < mapping->run_count; i++) {
        const struct dma_world_run *run = &mapping->runs[i];
        bool adjacent = run->physical + run->size == run[1].physical;
        bool at_granule = (run->physical + run->size) % DMA_WORLD_PAGE == 0 &&
                          run[1].physical % DMA_WORLD_PAGE == 0;

        if ((adjacent || at_granule) && run->address + run->size != run[1].address) {
            dma_fail("memory at %#" PRIx64 " and %#" PRIx64 " is not adjacent for the device",
                     run->physical, run[1].physical);
        }
    }
}

/* Which bytes of a page of addresses belong to a mapping; true: all that do lead to `direct`. */
static bool bytes_of_page(const struct dma_world_mapping *mapping, uint64_t page, bool *belongs,
                          uint64_t direct)
{
    bool result = true;

    memset(belongs, false, DMA_MEMORY_PAGE);
    for (size_t i = 0; i < mapping->run_count; i++) {
        const struct dma_world_run *run = &mapping->runs[i];

        for (uint64_t done = 0; done < run->size; done++) {
            uint64_t address = run->address + done;

            if (page_of(address) != page) {
                uint64_t next = page_of(address) + DMA_WORLD_PAGE;

                done += next - address - 1; /* to the next page */
                continue;
            }
            if (belongs[address - page]) {
                dma_fail("%#" PRIx64 " stands for two bytes", address);
            }
            belongs[address - page] = true;
            result = result && run->physical + done == direct + (address - page);
        }
    }
    return result;
}

static bool is_in_pool(const struct dma_world *world, uint64_t physical)
{
    return physical >= POOL && physical < POOL + DMA_WORLD_POOL * DMA_WORLD_PAGE &&
           world->in_pool[(physical - POOL) / DMA_WORLD_PAGE];
}

/* A page of the pool has one use. */
static void check_unused(struct dma_world *world, const struct dma_world_cell *cell)
{
    for (unsigned int i = 0; i < DMA_WORLD_SPACES * DMA_WORLD_WINDOW; i++) {
        const struct dma_world_cell *other =
            &world->spaces[i / DMA_WORLD_WINDOW].cells[i % DMA_WORLD_WINDOW];

        if (other != cell && other->state != DMA_CELL_FREE && other->physical == cell->physical) {
            dma_fail("%#" PRIx64 " is in use at page %u of space %u, too", cell->physical,
                     i % DMA_WORLD_WINDOW, i / DMA_WORLD_WINDOW);
        }
    }
}

/* Garbage beside the bytes of a mapping; the cache fetches it before the library looks again. */
static void litter(struct dma_world *world, const struct dma_world_mapping *mapping,
                   uint64_t address, size_t size)
{
    uint8_t garbage[DMA_MEMORY_PAGE];
    uint64_t physical = translate(world, mapping, address, true) - MEMORY;

    memset(garbage, 0x6b, size);
    dma_world_device_write(world, mapping, address, garbage, size);
    for (uint64_t line = physical / DMA_MEMORY_LINE;
         line <= (physical + size - 1) / DMA_MEMORY_LINE; line++) {
        dma_memory_refetch(world->memory, line);
    }
}

/* An untrusted device finds nothing beside its bytes, and leaves something there. */
static void try_padding(struct dma_world *world, const struct dma_world_mapping *mapping,
                        uint64_t page, const bool *belongs)
{
    uint8_t bytes[DMA_MEMORY_PAGE] = {0};
    size_t size;

    if (may_read(world, mapping)) {
        dma_world_device_read(world, mapping, page, bytes, sizeof(bytes));
    }
    for (size_t i = 0; i < sizeof(bytes); i += size) {
        for (size = 1; i + size < sizeof(bytes) && belongs[i + size] == belongs[i];) {
            size++;
        }
        for (size_t k = i; k < i + size; k++) {
            if (!belongs[k] && bytes[k] != 0) {
                dma_fail("untrusted device %u finds %#x at %#" PRIx64, mapping->device, bytes[k],
                         page + k);
            }
        }
        if (!belongs[i] && mapping->direction != PIOMMU_DMA_TO_DEVICE) {
            litter(world, mapping, page + i, size);
        }
    }
}

static void note_page(struct dma_world *world, struct dma_world_mapping *mapping, uint64_t page)
{
    struct dma_world_space *space = dma_world_space_of(world, mapping);
    const struct dma_world_device *device = &world->devices[mapping->device];
    struct dma_world_cell *cell = dma_world_cell(world, space, page);
    bool belongs[DMA_MEMORY_PAGE];
    bool is_direct;

    *cell = (struct dma_world_cell){.state = DMA_CELL_LIVE,
                                    .read = may_read(world, mapping),
                                    .write = mapping->direction != PIOMMU_DMA_TO_DEVICE};
    cell->physical = page_of(translate(world, mapping, page, !cell->read));
    if (mapping->kind == DMA_WORLD_BUFFER) {
        is_direct = false;
    } else {
        is_direct = bytes_of_page(mapping, page, belongs, cell->physical);
    }
    if (!is_direct && !is_in_pool(world, cell->physical)) {
        dma_fail("%#" PRIx64 " leads to %#" PRIx64 ", which is not for it", page, cell->physical);
    }
    if (is_in_pool(world, cell->physical)) {
        check_unused(world, cell);
    }
    if (mapping->kind == DMA_WORLD_BUFFER || !device->untrusted) {
        return;
    }
    if (is_direct && memchr(belongs, false, sizeof(belongs)) != NULL) {
        dma_fail("untrusted device %u reaches what is beside its buffer at %#" PRIx64,
                 mapping->device, page);
    }
    if (!is_direct) {
        try_padding(world, mapping, page, belongs);
    }
}

/* Addresses: in the window, below the mask, in nobody's way. */
static void check_addresses(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    const struct dma_world_device *device = &world->devices[mapping->device];
    struct dma_world_space *space = dma_world_space_of(world, mapping);
    uint64_t mask =
        mapping->kind == DMA_WORLD_BUFFER ? device->config.coherent_mask : device->config.mask;

    for (size_t i = 0; i < mapping->segment_count; i++) {
        uint64_t last = mapping->segments[i].address + (mapping->segments[i].size - 1);

        if (last > mask || mapping->segments[i].address < DMA_WORLD_PAGE) {
            dma_fail("device %u cannot use %#" PRIx64, mapping->device, last);
        }
        for (uint64_t page = page_of(mapping->segments[i].address); page <= last;
             page += DMA_WORLD_PAGE) {
            const struct dma_world_cell *cell = dma_world_cell(world, space, page);

            if (cell == NULL || cell->state == DMA_CELL_LIVE) {
                dma_fail("%#" PRIx64 " is given out, and is not free", page);
            }
            for (unsigned int k = 0; k < DMA_WORLD_DEVICES; k++) {
                if (&world->spaces[world->devices[k].space] == space &&
                    world->devices[k].reserved == page && page != 0) {
                    dma_fail("%#" PRIx64 " is given out, and reserved", page);
                }
            }
        }
    }
}

void dma_world_mapped(struct dma_world *world, struct dma_world_mapping *mapping)
{
    if (mapping->kind != DMA_WORLD_BUFFER) {
        find_runs(mapping);
    }
    if (mapping->kind != DMA_WORLD_BUFFER && mapping->kind != DMA_WORLD_RANGE) {
        check_runs(mapping);
    }
    if (mapping->kind == DMA_WORLD_SG) {
        check_segments(world, mapping);
    }
    check_addresses(world, mapping);
    for (size_t i = 0; i < mapping->segment_count; i++) {
        uint64_t first = page_of(mapping->segments[i].address);
        uint64_t last = mapping->segments[i].address + (mapping->segments[i].size - 1);

        for (uint64_t page = first; page <= last; page += DMA_WORLD_PAGE) {
            /* Segments may meet in a page. */
            if (dma_world_cell(world, dma_world_space_of(world, mapping), page)->state !=
                DMA_CELL_LIVE) {
                note_page(world, mapping, page);
            }
        }
    }
}

static void forget(struct dma_world *world, struct dma_world_cell *cell)
{
    if (world->says_released && !cell->was_released) {
        dma_fail("nobody was told that %#" PRIx64 " can be reached no more", cell->physical);
    }
    cell->state = DMA_CELL_FREE;
    cell->was_released = false;
}

/* Does it use a bounce page? Such a page is not left to ghosts: what uses one does not wait. */
static bool bounces(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    for (size_t i = 0; i < mapping->run_count; i++) {
        const struct dma_world_run *run = &mapping->runs[i];

        for (uint64_t page = page_of(run->address); page < run->address + run->size;
             page += DMA_WORLD_PAGE) {
            if (is_in_pool(
                    world,
                    dma_world_cell(world, dma_world_space_of(world, mapping), page)->physical)) {
                return true;
            }
        }
    }
    return false;
}

void dma_world_unmapped(struct dma_world *world, struct dma_world_mapping *mapping, bool at_once)
{
    struct dma_world_space *space = dma_world_space_of(world, mapping);
    unsigned int cpu = space->config.cpus > 1 ? world->cpu % space->config.cpus : 0;
    bool is_ghost = space->config.lazy && !at_once && !bounces(world, mapping);
    uint64_t number = is_ghost ? ++space->unmapped[cpu] : 0;

    for (size_t i = 0; i < mapping->segment_count; i++) {
        uint64_t first = page_of(mapping->segments[i].address);
        uint64_t last = mapping->segments[i].address + (mapping->segments[i].size - 1);

        for (uint64_t page = first; page <= last; page += DMA_WORLD_PAGE) {
            struct dma_world_cell *cell = dma_world_cell(world, space, page);

            if (cell->state != DMA_CELL_LIVE) {
                continue;
            }
            cell->state = is_ghost ? DMA_CELL_GHOST : DMA_CELL_FREE;
            cell->cpu = cpu;
            cell->number = number;
            cell->unmapped = dma_world_now(world);
            if (!is_ghost) {
                cell->was_released = false;
            }
        }
    }
    mapping->kind = DMA_WORLD_NONE;
}

void dma_world_forgotten(struct dma_world *world, struct dma_world_space *space, uint64_t before)
{
    for (size_t i = 0; i < DMA_WORLD_WINDOW; i++) {
        if (space->cells[i].state == DMA_CELL_GHOST && space->cells[i].unmapped <= before) {
            forget(world, &space->cells[i]);
        }
    }
}

/* ---- Checking ---- */

/* Of what waits there is a bound. */
static void end_ghosts(struct dma_world *world, struct dma_world_space *space)
{
    for (size_t i = 0; i < DMA_WORLD_WINDOW; i++) {
        struct dma_world_cell *cell = &space->cells[i];

        if (cell->state == DMA_CELL_GHOST &&
            (cell->was_released ||
             space->unmapped[cell->cpu] - cell->number >= space->config.lazy_count)) {
            forget(world, cell);
        }
    }
}

static void check_statistics(struct dma_world_space *space)
{
    uint64_t cpus = space->config.cpus > 1 ? space->config.cpus : 1;
    struct piommu_dma_statistics statistics;

    piommu_dma_space_get_statistics(space->space, &statistics);
    CHECK(statistics.bounce_pages_used <= space->config.bounce_pages);
    CHECK(statistics.bounce_pages_most >= statistics.bounce_pages_used &&
          statistics.bounce_pages_most <= space->config.bounce_pages);
    CHECK(statistics.stuck == 0);
    CHECK(statistics.waiting <= (space->config.lazy ? space->config.lazy_count * cpus : 0));
}

static void check_access(struct dma_world *world, unsigned int device, size_t page, bool write)
{
    const struct dma_world_cell *cell = &world->spaces[world->devices[device].space].cells[page];
    uint64_t address = world->window + page * DMA_WORLD_PAGE;
    uint64_t physical = 0;
    bool reaches = dma_hardware_access(world->hardware, device, address, write, &physical);
    bool granted = cell->state != DMA_CELL_FREE && (write ? cell->write : cell->read);

    if (reaches && (!granted || physical != cell->physical)) {
        dma_fail("device %u can %s %#" PRIx64 " at %#" PRIx64 ", which is not for it", device,
                 write ? "write" : "read", physical, address);
    }
    if (!reaches && granted && cell->state == DMA_CELL_LIVE) {
        dma_fail("device %u cannot %s %#" PRIx64 " any more", device, write ? "write" : "read",
                 address);
    }
}

/* What the CPU sees of its own: buffers, and what is beside them. */
static void check_memory(struct dma_world *world)
{
    const uint8_t *seen = dma_memory_cached(world->memory, MEMORY);

    for (size_t page = 0; page < DMA_WORLD_PAGES; page++) {
        size_t first = page * DMA_MEMORY_PAGE;

        if (memcmp(seen + first, world->truth + first, DMA_MEMORY_PAGE) == 0) {
            continue;
        }
        for (size_t i = first; i < first + DMA_MEMORY_PAGE; i++) {
            if (seen[i] != world->truth[i] && world->owner[i] != DMA_WORLD_DEVICE) {
                dma_fail("the CPU sees %#x and not %#x at %#" PRIx64, seen[i], world->truth[i],
                         MEMORY + i);
            }
        }
    }
}

/* What a device sees of its buffer. */
static void check_mapping(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    uint8_t bytes[DMA_MEMORY_PAGE];

    if (mapping->kind != DMA_WORLD_SINGLE && mapping->kind != DMA_WORLD_SG &&
        mapping->kind != DMA_WORLD_RANGE) {
        return;
    }
    for (size_t i = 0; i < mapping->run_count && may_read(world, mapping); i++) {
        const struct dma_world_run *run = &mapping->runs[i];

        for (uint64_t done = 0; done < run->size;) {
            size_t size = within_page(run->address + done, (size_t)(run->size - done));
            size_t index = dma_world_index(run->physical + done);
            bool differs;

            dma_world_device_read(world, mapping, run->address + done, bytes, size);
            differs = memcmp(bytes, &world->truth[index], size) != 0;
            for (size_t k = 0; differs && k < size; k++) {
                if (bytes[k] != world->truth[index + k] &&
                    world->owner[index + k] == DMA_WORLD_DEVICE) {
                    dma_fail("device %u sees %#x and not %#x at %#" PRIx64, mapping->device,
                             bytes[k], world->truth[index + k], run->address + done + k);
                }
            }
            done += size;
        }
    }
}

void dma_world_check(struct dma_world *world)
{
    for (unsigned int i = 0; i < 16; i++) {
        dma_memory_refetch(world->memory, dma_world_random(world, UINT32_MAX));
    }
    for (unsigned int i = 0; i < DMA_WORLD_SPACES; i++) {
        end_ghosts(world, &world->spaces[i]);
        check_statistics(&world->spaces[i]);
    }
    for (unsigned int i = 0; i < DMA_WORLD_DEVICES * DMA_WORLD_WINDOW; i++) {
        check_access(world, i / DMA_WORLD_WINDOW, i % DMA_WORLD_WINDOW, false);
        check_access(world, i / DMA_WORLD_WINDOW, i % DMA_WORLD_WINDOW, true);
    }
    check_memory(world);
    for (unsigned int i = 0; i < DMA_WORLD_MAPPINGS; i++) {
        check_mapping(world, &world->mappings[i]);
    }
}
