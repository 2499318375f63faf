/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "dma_calls.h"

#include <inttypes.h>
#include <string.h>

#define PAGE DMA_WORLD_PAGE

/* ---- Choosing ---- */

/* A mapping that is not in use; NULL: all are. */
static struct dma_world_mapping *fresh_mapping(struct dma_world *world, unsigned int device,
                                               unsigned int direction)
{
    for (size_t i = 0; i < DMA_WORLD_MAPPINGS; i++) {
        struct dma_world_mapping *mapping = &world->mappings[i];

        if (mapping->kind == DMA_WORLD_NONE) {
            memset(mapping, 0, sizeof(*mapping));
            mapping->device = device % DMA_WORLD_DEVICES;
            mapping->direction = (enum piommu_dma_direction)(direction % 3);
            return mapping;
        }
    }
    return NULL;
}

/* One that is, from a number on; NULL: none of these kinds. */
static struct dma_world_mapping *choose_mapping(struct dma_world *world, unsigned int number,
                                                unsigned int kinds)
{
    for (size_t i = 0; i < DMA_WORLD_MAPPINGS; i++) {
        struct dma_world_mapping *mapping = &world->mappings[(number + i) % DMA_WORLD_MAPPINGS];

        if ((1u << mapping->kind & kinds) != 0) {
            return mapping;
        }
    }
    return NULL;
}

#define MAPPED  (1u << DMA_WORLD_SINGLE | 1u << DMA_WORLD_SG)
#define BUFFERS (MAPPED | 1u << DMA_WORLD_RANGE)
#define ALL     (BUFFERS | 1u << DMA_WORLD_RESOURCE | 1u << DMA_WORLD_BUFFER)

/* Pages of memory that no other mapping uses. */
static bool take_pages(struct dma_world *world, struct dma_world_mapping *mapping, size_t from,
                       size_t pages)
{
    for (size_t i = 0; i < DMA_WORLD_PAGES; i++) {
        size_t first = (from + i) % DMA_WORLD_PAGES;

        if (first + pages <= DMA_WORLD_PAGES &&
            memchr(&world->page_in_use[first], true, pages) == NULL) {
            memset(&world->page_in_use[first], true, pages);
            mapping->first_page = first;
            mapping->pages = pages;
            return true;
        }
    }
    return false;
}

static void give_pages(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    memset(&world->page_in_use[mapping->first_page], false, (size_t)mapping->pages);
}

/* ---- Whether an error is right ---- */

static uint64_t pages_of(uint64_t address, uint64_t size)
{
    return (address % PAGE + size + PAGE - 1) / PAGE;
}

static bool may_give_out(struct dma_world *world, const struct dma_world_space *space, size_t page,
                         uint64_t mask)
{
    uint64_t address = world->window + page * PAGE;

    for (size_t i = 0; i < DMA_WORLD_DEVICES; i++) {
        if (&world->spaces[world->devices[i].space] == space &&
            world->devices[i].reserved == address) {
            return false;
        }
    }
    return address != 0 && address + (PAGE - 1) <= mask &&
           space->cells[page].state != DMA_CELL_LIVE;
}

/* Is there room for so many pages at a stretch? What waits goes before it is in the way. */
static bool has_room(struct dma_world *world, struct dma_world_space *space, uint64_t pages,
                     uint64_t mask)
{
    uint64_t found = 0;

    for (size_t i = 0; i < DMA_WORLD_WINDOW; i++) {
        found = may_give_out(world, space, i, mask) ? found + 1 : 0;
        if (found == pages) {
            return true;
        }
    }
    return false;
}

static bool has_partial_end(const struct dma_world_mapping *mapping, uint64_t unit)
{
    for (size_t i = 0; i < mapping->count; i++) {
        if ((mapping->list[i].physical | mapping->list[i].size) % unit != 0) {
            return true;
        }
    }
    return false;
}

static bool may_bounce(const struct dma_world *world, const struct dma_world_mapping *mapping)
{
    const struct dma_world_device *device = &world->devices[mapping->device];

    return (device->untrusted && has_partial_end(mapping, PAGE)) ||
           (device->config.non_coherent && mapping->direction != PIOMMU_DMA_TO_DEVICE &&
            has_partial_end(mapping, DMA_MEMORY_LINE));
}

/* What was there before a call that maps. */
struct before {
    struct piommu_dma_statistics statistics;
    bool had_room;
};

static struct before look_before(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    struct dma_world_space *space = dma_world_space_of(world, mapping);
    uint64_t mask = world->devices[mapping->device].config.mask;
    uint64_t pages = 0;
    struct before before;

    for (size_t i = 0; i < mapping->count; i++) {
        pages += pages_of(mapping->list[i].physical, mapping->list[i].size);
    }
    if (mapping->kind == DMA_WORLD_BUFFER) {
        mask = world->devices[mapping->device].config.coherent_mask;
        pages = pages_of(0, mapping->buffer.size);
    }
    before.had_room = has_room(world, space, pages, mask);
    piommu_dma_space_get_statistics(space->space, &before.statistics);
    world->out_of_memory = false;
    return before;
}

static void check_error(struct dma_world *world, const struct dma_world_mapping *mapping,
                        const struct before *before, bool is_failing, int error)
{
    uint32_t pages = dma_world_space_of(world, mapping)->config.bounce_pages;
    bool is_right = false;

    dma_world_say(world, "  = %d", error);
    switch (error) {
    case -PIOMMU_ENOMEM:
        is_right = is_failing || world->out_of_memory;
        break;
    case -PIOMMU_ENOSPC:
        is_right = !before->had_room;
        break;
    case -PIOMMU_EAGAIN:
        is_right = pages != 0 && may_bounce(world, mapping) &&
                   before->statistics.bounce_pages_used + 2 * mapping->count > pages;
        break;
    case -PIOMMU_EOPNOTSUPP:
        is_right = pages == 0 && may_bounce(world, mapping);
        break;
    default:
        break;
    }
    if (!is_right) {
        dma_fail("device %u cannot map: %d", mapping->device, error);
    }
}

/* ---- Bytes ---- */

static void set_owner(struct dma_world *world, const struct dma_world_mapping *mapping,
                      enum dma_world_owner owner)
{
    for (size_t i = 0; i < mapping->count; i++) {
        memset(&world->owner[dma_world_index(mapping->list[i].physical)], (int)owner,
               (size_t)mapping->list[i].size);
    }
}

/* The CPU writes what is its own of a range. */
static void cpu_write(struct dma_world *world, uint64_t physical, uint64_t size)
{
    size_t index = dma_world_index(physical);
    uint8_t *memory = dma_memory_cached(world->memory, physical);

    for (size_t i = 0; i < size; i++) {
        if (world->owner[index + i] != DMA_WORLD_DEVICE) {
            world->truth[index + i] = (uint8_t)dma_world_random(world, 256);
            memory[i] = world->truth[index + i];
        }
    }
}

/* The CPU gives back what is its own of a part of a run; `least` WRITTEN: where it has written. */
static void give(struct dma_world *world, const struct dma_world_mapping *mapping,
                 const struct dma_world_run *run, uint64_t from, uint64_t size,
                 enum dma_world_owner least)
{
    uint8_t *owner = &world->owner[dma_world_index(run->physical)];
    uint64_t length;

    for (uint64_t i = from; i < from + size; i += length) {
        bool is_given = owner[i] >= least && owner[i] != DMA_WORLD_DEVICE;

        length = 1;
        if (!is_given) {
            continue;
        }
        while (i + length < from + size && owner[i + length] >= least &&
               owner[i + length] != DMA_WORLD_DEVICE) {
            length++;
        }
        dma_world_say(world, "  %#" PRIx64 ", %#" PRIx64 " for the device", run->address + i,
                      length);
        CHECK(piommu_dma_sync_single_for_device(world->devices[mapping->device].dma,
                                                run->address + i, length, mapping->direction) == 0);
        memset(&owner[i], DMA_WORLD_DEVICE, (size_t)length);
    }
}

static void give_all(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    for (size_t i = 0; i < mapping->run_count; i++) {
        give(world, mapping, &mapping->runs[i], 0, mapping->runs[i].size, DMA_WORLD_WRITTEN);
    }
}

/* ---- Mapping ---- */

/* Something is refused by the host now and then. */
static bool begin_failing(struct dma_world *world, uint16_t raw)
{
    if (raw % 16 != 1) {
        return false;
    }
    fake_os_fail_call(dma_hardware_os(world->hardware), 1 + raw / 16 % 4, false);
    return true;
}

static void end_failing(struct dma_world *world)
{
    fake_os_fail_call(dma_hardware_os(world->hardware), 0, false);
}

static void say_mapping(const struct dma_world *world, const struct dma_world_mapping *mapping,
                        const char *call, unsigned int flags)
{
    dma_world_say(world, "%s of device %u, direction %u, flags %u", call, mapping->device,
                  (unsigned int)mapping->direction, flags);
    for (size_t i = 0; i < mapping->count; i++) {
        dma_world_say(world, "  %#" PRIx64 ", %#" PRIx64 " bytes", mapping->list[i].physical,
                      mapping->list[i].size);
    }
}

static void note_mapped(struct dma_world *world, struct dma_world_mapping *mapping,
                        unsigned int flags)
{
    for (size_t i = 0; i < mapping->segment_count; i++) {
        dma_world_say(world, "  at %#" PRIx64 ", %#" PRIx64, mapping->segments[i].address,
                      mapping->segments[i].size);
    }
    if ((1u << mapping->kind & BUFFERS) != 0) {
        set_owner(world, mapping, flags != 0 ? DMA_WORLD_WRITTEN : DMA_WORLD_DEVICE);
    }
    dma_world_mapped(world, mapping);
}

static void choose_single(struct dma_world_mapping *mapping, uint16_t place, uint16_t length)
{
    uint64_t memory = dma_world_memory(mapping->first_page);
    uint64_t room = mapping->pages * PAGE;
    uint64_t offset = place % PAGE;
    uint64_t size;

    if (place / PAGE % 4 == 0) {
        offset = 0;
    } else if (place / PAGE % 4 == 1) {
        offset &= ~(uint64_t)(DMA_MEMORY_LINE - 1);
    }
    size = 1 + length % (room - offset);
    if (length % 8 == 0) {
        size = room - offset;
    } else if (length % 8 == 1) {
        size = 1 + size % 100;
    }
    if (offset + size > room) {
        size = room - offset;
    }
    mapping->list[0] = (struct piommu_segment){memory + offset, size};
    mapping->count = 1;
}

static unsigned int choose_flags(uint16_t raw)
{
    return raw / 8 % 6 == 1 ? PIOMMU_DMA_NO_CPU_SYNC : 0;
}

void dma_call_map_single(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = fresh_mapping(world, raw[0], raw[1]);
    unsigned int flags = choose_flags(raw[1]);
    struct before before;
    bool is_failing;
    int error;

    if (mapping == NULL || !take_pages(world, mapping, raw[0] / 4, 1 + raw[4] / 4096u % 5)) {
        return;
    }
    choose_single(mapping, raw[2], raw[3]);
    say_mapping(world, mapping, "map single", flags);
    before = look_before(world, mapping);
    is_failing = begin_failing(world, raw[4]);
    error = raw[4] / 2048 % 2 == 0
                ? piommu_dma_map_single(world->devices[mapping->device].dma,
                                        mapping->list[0].physical, mapping->list[0].size,
                                        mapping->direction, flags, &mapping->segments[0].address)
                : piommu_dma_map_page(world->devices[mapping->device].dma,
                                      mapping->list[0].physical & ~(PAGE - 1),
                                      mapping->list[0].physical % PAGE, mapping->list[0].size,
                                      mapping->direction, flags, &mapping->segments[0].address);
    end_failing(world);
    if (error != 0) {
        check_error(world, mapping, &before, is_failing, error);
        give_pages(world, mapping);
        return;
    }
    mapping->kind = DMA_WORLD_SINGLE;
    mapping->segments[0].size = mapping->list[0].size;
    mapping->segment_count = 1;
    note_mapped(world, mapping, flags);
}

/* Buffers one behind the other: adjacent, with small gaps, or from page to page. */
static void choose_list(struct dma_world *world, struct dma_world_mapping *mapping,
                        unsigned int most)
{
    uint64_t memory = dma_world_memory(mapping->first_page);
    uint64_t room = mapping->pages * PAGE;
    uint64_t at = dma_world_random(world, 3) == 0 ? dma_world_random(world, PAGE) : 0;

    while (mapping->count < most && at < room) {
        uint64_t to_page = PAGE - at % PAGE;
        const uint64_t sizes[] = {to_page, to_page, to_page + PAGE,
                                  1 + dma_world_random(world, 200),
                                  1 + dma_world_random(world, 2 * PAGE)};
        uint64_t size = sizes[dma_world_random(world, 5)];

        if (size > room - at) {
            size = room - at;
        }
        mapping->list[mapping->count++] = (struct piommu_segment){memory + at, size};
        at += size;
        switch (dma_world_random(world, 4)) {
        case 0:
            at += dma_world_random(world, 300);
            break;
        case 1:
            at += (PAGE - at % PAGE) % PAGE + PAGE * dma_world_random(world, 2);
            break;
        default:
            break;
        }
    }
    if (dma_world_random(world, 3) == 0) {
        struct piommu_segment last = mapping->list[mapping->count - 1];

        mapping->list[mapping->count - 1] = mapping->list[0];
        mapping->list[0] = last;
    }
}

/* So many segments always suffice. */
static size_t most_segments(const struct dma_world *world, const struct dma_world_mapping *mapping)
{
    const struct piommu_dma_device_config *limits = &world->devices[mapping->device].config;
    uint64_t most = 0;

    for (size_t i = 0; i < mapping->count; i++) {
        most += mapping->list[i].size / limits->max_segment_size +
                mapping->list[i].size / limits->segment_boundary + 3;
    }
    return (size_t)most;
}

void dma_call_map_sg(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = fresh_mapping(world, raw[0], raw[1]);
    unsigned int flags = choose_flags(raw[1]);
    size_t room = raw[3] % 4 == 1 ? 1 + raw[3] / 4u % 3 : DMA_WORLD_SEGMENTS;
    struct before before;
    bool is_failing;
    int error;

    if (mapping == NULL || !take_pages(world, mapping, raw[0] / 4, 1 + raw[4] / 4096u % 8)) {
        return;
    }
    choose_list(world, mapping, 1 + raw[2] % DMA_WORLD_LIST);
    say_mapping(world, mapping, "map list", flags);
    before = look_before(world, mapping);
    if (room < most_segments(world, mapping) ||
        world->devices[mapping->device].config.segment_boundary < 0x100000000) {
        before.had_room = false;
    }
    is_failing = begin_failing(world, raw[4]);
    error = piommu_dma_map_sg(world->devices[mapping->device].dma, mapping->list, mapping->count,
                              mapping->direction, flags, mapping->segments, room,
                              &mapping->segment_count);
    end_failing(world);
    if (error != 0) {
        check_error(world, mapping, &before, is_failing, error);
        give_pages(world, mapping);
        return;
    }
    CHECK(mapping->segment_count >= 1 && mapping->segment_count <= room);
    mapping->kind = DMA_WORLD_SG;
    note_mapped(world, mapping, flags);
}

void dma_call_map_resource(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = fresh_mapping(world, raw[0], raw[1]);
    bool is_partial = raw[2] % 2 != 0;
    struct before before;
    bool is_failing;
    int error;

    if (mapping == NULL) {
        return;
    }
    mapping->list[0].physical = dma_world_registers() + raw[3] % 16 * PAGE;
    mapping->list[0].size = (1 + raw[2] / 2 % 2) * PAGE;
    if (is_partial) {
        mapping->list[0].physical += 0x40;
        mapping->list[0].size = 0x100;
    }
    mapping->count = 1;
    say_mapping(world, mapping, "map resource", 0);
    before = look_before(world, mapping);
    is_failing = begin_failing(world, raw[4]);
    error = piommu_dma_map_resource(world->devices[mapping->device].dma, mapping->list[0].physical,
                                    mapping->list[0].size, mapping->direction,
                                    &mapping->segments[0].address);
    end_failing(world);
    if (is_partial && world->devices[mapping->device].untrusted) {
        CHECK(error == -PIOMMU_EINVAL);
        return;
    }
    if (error != 0) {
        if (error == -PIOMMU_EAGAIN || error == -PIOMMU_EOPNOTSUPP) {
            dma_fail("registers were to be bounced");
        }
        check_error(world, mapping, &before, is_failing, error);
        return;
    }
    mapping->kind = DMA_WORLD_RESOURCE;
    mapping->segments[0].size = mapping->list[0].size;
    mapping->segment_count = 1;
    note_mapped(world, mapping, 0);
}

/* Each buffer has granules of a range for itself. Their places, from its first byte on. */
static void choose_places(struct dma_world_mapping *mapping)
{
    uint64_t first = mapping->list[0].physical % PAGE;
    uint64_t granules = 0;

    mapping->segment_count = mapping->count;
    for (size_t i = 0; i < mapping->count; i++) {
        const struct piommu_segment *buffer = &mapping->list[i];

        mapping->segments[i] = (struct piommu_dma_segment){
            granules * PAGE + buffer->physical % PAGE - first, buffer->size};
        granules += pages_of(buffer->physical, buffer->size);
    }
}

static uint64_t end_of_links(const struct dma_world_mapping *mapping)
{
    const struct piommu_dma_segment *last = &mapping->segments[mapping->segment_count - 1];

    return last->address + last->size - mapping->segments[0].address;
}

/* Links all of them, in the order of the list or against it. */
static int link_buffers(struct dma_world *world, const struct dma_world_mapping *mapping,
                        bool forward)
{
    size_t from = (size_t)dma_world_random(world, mapping->count);
    int error = 0;

    for (size_t i = 0; i < mapping->count && error == 0; i++) {
        size_t number = (from + (forward ? i : mapping->count - i)) % mapping->count;

        error = piommu_dma_link(mapping->range, mapping->segments[number].address,
                                mapping->list[number].physical, mapping->list[number].size,
                                mapping->direction, mapping->flags);
    }
    return error != 0 ? error : piommu_dma_range_sync(mapping->range);
}

static int make_range(struct dma_world *world, struct dma_world_mapping *mapping, bool forward)
{
    uint64_t address;
    int error;

    choose_places(mapping);
    error = piommu_dma_reserve(world->devices[mapping->device].dma, mapping->list[0].physical,
                               end_of_links(mapping), &mapping->range, &address);
    if (error != 0) {
        return error;
    }
    CHECK(address % PAGE == mapping->list[0].physical % PAGE);
    error = link_buffers(world, mapping, forward);
    CHECK(piommu_dma_unreserve(error != 0 ? mapping->range : NULL) == 0);
    for (size_t i = 0; i < mapping->segment_count; i++) {
        mapping->segments[i].address += address;
    }
    return error;
}

void dma_call_link(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = fresh_mapping(world, raw[0], raw[1]);
    struct before before;
    bool is_failing;
    int error;

    if (mapping == NULL || !take_pages(world, mapping, raw[0] / 4, 1 + raw[4] / 4096u % 8)) {
        return;
    }
    mapping->flags = choose_flags(raw[1]);
    choose_list(world, mapping, 1 + raw[2] % DMA_WORLD_LIST);
    say_mapping(world, mapping, "link", mapping->flags);
    before = look_before(world, mapping);
    is_failing = begin_failing(world, raw[4]);
    error = make_range(world, mapping, raw[3] % 2 == 0);
    end_failing(world);
    if (error != 0) {
        check_error(world, mapping, &before, is_failing, error);
        give_pages(world, mapping);
        return;
    }
    mapping->kind = DMA_WORLD_RANGE;
    note_mapped(world, mapping, mapping->flags);
}

/* CPU and device see what the other has written, with a barrier at most. */
static void try_buffer(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    uint8_t *memory = mapping->buffer.memory;
    uint64_t at = dma_world_random(world, mapping->buffer.size);
    uint8_t written = (uint8_t)dma_world_random(world, 256);
    uint8_t read = 0;

    memory[at] = written;
    dma_memory_barrier(world->memory);
    dma_world_device_read(world, mapping, mapping->buffer.address + at, &read, 1);
    CHECK(read == written);
    written = (uint8_t)~written;
    dma_world_device_write(world, mapping, mapping->buffer.address + at, &written, 1);
    CHECK(memory[at] == written);
}

void dma_call_alloc(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = fresh_mapping(world, raw[0], PIOMMU_DMA_BIDIRECTIONAL);
    uint64_t size = 1 + raw[2] % (4 * PAGE);
    struct before before;
    bool is_failing;
    int error;

    if (mapping == NULL) {
        return;
    }
    mapping->kind = DMA_WORLD_BUFFER;
    mapping->buffer.size = size;
    say_mapping(world, mapping, "alloc", 0);
    before = look_before(world, mapping);
    is_failing = begin_failing(world, raw[4]);
    error = piommu_dma_alloc(world->devices[mapping->device].dma, size, &mapping->buffer);
    end_failing(world);
    if (error != 0) {
        mapping->kind = DMA_WORLD_NONE;
        check_error(world, mapping, &before, is_failing, error);
        return;
    }
    CHECK(mapping->buffer.size == size);
    CHECK(mapping->buffer.address % PAGE == 0);
    mapping->segments[0] = (struct piommu_dma_segment){mapping->buffer.address, size};
    mapping->segment_count = 1;
    note_mapped(world, mapping, 0);
    for (uint64_t i = 0; i < size; i++) {
        uint8_t seen = 1;

        dma_world_device_read(world, mapping, mapping->buffer.address + i, &seen, 1);
        CHECK(seen == 0);
        CHECK(((uint8_t *)mapping->buffer.memory)[i] == 0);
    }
    try_buffer(world, mapping);
}

/* ---- Unmapping ---- */

static int unlink_part(const struct dma_world_mapping *mapping, uint64_t from, uint64_t size)
{
    return piommu_dma_unlink(mapping->range, from - mapping->segments[0].address, size,
                             mapping->direction, mapping->flags);
}

/* Links that follow each other without a gap, as one; all others one by one. */
static void unlink_all(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    bool together = dma_world_random(world, 2) == 0;
    size_t from = (size_t)dma_world_random(world, mapping->segment_count);

    for (size_t i = 0; i + 1 < mapping->segment_count; i++) {
        const struct piommu_dma_segment *segment = &mapping->segments[i];

        together = together && segment->address + segment->size == segment[1].address;
    }
    if (together) {
        CHECK(unlink_part(mapping, mapping->segments[0].address, end_of_links(mapping)) == 0);
        return;
    }
    for (size_t i = 0; i < mapping->segment_count; i++) {
        const struct piommu_dma_segment *segment =
            &mapping->segments[(from + i) % mapping->segment_count];

        CHECK(piommu_dma_unreserve(mapping->range) == -PIOMMU_EBUSY);
        CHECK(unlink_part(mapping, segment->address, segment->size) == 0);
    }
}

static int give_up(struct dma_world *world, const struct dma_world_mapping *mapping)
{
    unlink_all(world, mapping);
    CHECK(unlink_part(mapping, mapping->segments[0].address, 1) == -PIOMMU_ENOENT);
    return piommu_dma_unreserve(mapping->range);
}

static int unmap(struct dma_world *world, struct dma_world_mapping *mapping, unsigned int flags)
{
    struct piommu_dma_device *device = world->devices[mapping->device].dma;

    switch (mapping->kind) {
    case DMA_WORLD_SINGLE:
        return piommu_dma_unmap_single(device, mapping->segments[0].address,
                                       mapping->segments[0].size, mapping->direction, flags);
    case DMA_WORLD_SG:
        return piommu_dma_unmap_sg(device, mapping->segments, mapping->segment_count,
                                   mapping->direction, flags);
    case DMA_WORLD_RESOURCE:
        return piommu_dma_unmap_resource(device, mapping->segments[0].address,
                                         mapping->segments[0].size, mapping->direction);
    case DMA_WORLD_BUFFER:
        try_buffer(world, mapping);
        return piommu_dma_free(device, &mapping->buffer);
    case DMA_WORLD_RANGE:
        return give_up(world, mapping);
    case DMA_WORLD_NONE:
        break;
    }
    return 0;
}

/* What the device had is lost, if caches and bounced ends were left alone: it is written anew. */
static void take_back(struct dma_world *world, const struct dma_world_mapping *mapping,
                      unsigned int flags)
{
    if (flags != 0) {
        dma_memory_refetch_all(world->memory);
    }
    for (size_t i = 0; i < mapping->count; i++) {
        uint64_t physical = mapping->list[i].physical;

        for (uint64_t k = 0; k < mapping->list[i].size; k++) {
            uint8_t *owner = &world->owner[dma_world_index(physical + k)];
            bool is_lost = flags != 0 && *owner == DMA_WORLD_DEVICE;

            *owner = DMA_WORLD_CPU;
            if (is_lost) {
                cpu_write(world, physical + k, 1);
            }
        }
    }
}

static void unmap_right(struct dma_world *world, struct dma_world_mapping *mapping,
                        unsigned int flags)
{
    bool is_buffer = (1u << mapping->kind & BUFFERS) != 0;

    if (mapping->kind == DMA_WORLD_RANGE) {
        flags = mapping->flags;
    }
    if (is_buffer && flags == 0 && mapping->direction != PIOMMU_DMA_TO_DEVICE) {
        give_all(world, mapping);
    }
    dma_world_say(world, "unmap %#" PRIx64 " of device %u, flags %u", mapping->segments[0].address,
                  mapping->device, flags);
    CHECK(unmap(world, mapping, flags) == 0);
    if (is_buffer) {
        take_back(world, mapping, flags);
        give_pages(world, mapping);
    }
    dma_world_unmapped(world, mapping,
                       mapping->kind == DMA_WORLD_BUFFER || mapping->kind == DMA_WORLD_RANGE);
}

void dma_call_unmap(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = choose_mapping(world, raw[0], ALL);

    if (mapping != NULL) {
        unmap_right(world, mapping, choose_flags(raw[1]));
    }
}

void dma_calls_end(struct dma_world *world)
{
    for (size_t i = 0; i < DMA_WORLD_MAPPINGS; i++) {
        if (world->mappings[i].kind != DMA_WORLD_NONE) {
            unmap_right(world, &world->mappings[i], 0);
        }
    }
}

void dma_call_unmap_twice(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = choose_mapping(world, raw[0], MAPPED);
    struct dma_world_mapping copy;

    if (mapping == NULL) {
        return;
    }
    copy = *mapping;
    unmap_right(world, mapping, 0);
    dma_world_say(world, "  again");
    CHECK(unmap(world, &copy, 0) == -PIOMMU_ENOENT);
}

void dma_call_unmap_wrong(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = choose_mapping(world, raw[0], 1u << DMA_WORLD_SINGLE);
    enum piommu_dma_direction direction;
    uint64_t size;

    if (mapping == NULL || !dma_world_space_of(world, mapping)->config.debug) {
        return;
    }
    direction = mapping->direction;
    size = mapping->segments[0].size;
    if (raw[1] % 2 == 0) {
        direction = (enum piommu_dma_direction)((direction + 1u) % 3);
    } else {
        size += raw[1] % 4 == 1 ? 1 : PAGE;
    }
    dma_world_say(world, "unmap %#" PRIx64 " of device %u wrongly", mapping->segments[0].address,
                  mapping->device);
    CHECK(piommu_dma_unmap_single(world->devices[mapping->device].dma, mapping->segments[0].address,
                                  size, direction, 0) == -PIOMMU_EINVAL);
}

/* ---- Syncs, and what happens to the bytes ---- */

/*
 * A part of a run. Of one line either the CPU writes or a device that does not snoop.
 */
static void choose_part(const struct dma_world *world, const struct dma_world_mapping *mapping,
                        const struct dma_world_run *run, const uint16_t *raw, uint64_t *from,
                        uint64_t *size)
{
    uint64_t end;

    *from = raw[0] % run->size;
    end = *from + 1 + raw[1] % (run->size - *from);
    if (raw[1] % 4 == 0) {
        *from = 0;
        end = run->size;
    }
    if (world->devices[mapping->device].config.non_coherent) {
        uint64_t before = (run->physical + *from) % DMA_MEMORY_LINE;
        uint64_t behind = (run->physical + end) % DMA_MEMORY_LINE;

        *from -= before < *from ? before : *from;
        end += behind != 0 ? DMA_MEMORY_LINE - behind : 0;
        end = end < run->size ? end : run->size;
    }
    *size = end - *from;
}

static void sync_list(struct dma_world *world, const struct dma_world_mapping *mapping,
                      enum dma_world_owner owner)
{
    struct piommu_dma_device *device = world->devices[mapping->device].dma;

    dma_world_say(world, "sync list %#" PRIx64 " of device %u for the %s",
                  mapping->segments[0].address, mapping->device,
                  owner == DMA_WORLD_CPU ? "CPU" : "device");
    CHECK((owner == DMA_WORLD_CPU ? piommu_dma_sync_sg_for_cpu : piommu_dma_sync_sg_for_device)(
              device, mapping->segments, mapping->segment_count, mapping->direction) == 0);
    set_owner(world, mapping, owner);
}

/* The whole list; who gives it has all of it before. */
static void pass_list(struct dma_world *world, const struct dma_world_mapping *mapping,
                      enum dma_world_owner owner)
{
    give_all(world, mapping);
    sync_list(world, mapping, DMA_WORLD_CPU);
    if (owner == DMA_WORLD_DEVICE) {
        for (size_t i = 0; i < mapping->count; i++) {
            cpu_write(world, mapping->list[i].physical, mapping->list[i].size);
        }
        sync_list(world, mapping, DMA_WORLD_DEVICE);
    }
}

static void pass_part(struct dma_world *world, const struct dma_world_mapping *mapping,
                      const struct dma_world_run *run, const uint16_t *raw,
                      enum dma_world_owner owner)
{
    uint64_t from;
    uint64_t size;

    choose_part(world, mapping, run, raw, &from, &size);
    dma_world_say(world, "sync %#" PRIx64 ", %#" PRIx64 " of device %u for the %s",
                  run->address + from, size, mapping->device,
                  owner == DMA_WORLD_CPU ? "CPU" : "device");
    if (owner == DMA_WORLD_DEVICE) {
        give(world, mapping, run, from, size, DMA_WORLD_CPU);
        return;
    }
    give(world, mapping, run, from, size, DMA_WORLD_WRITTEN);
    CHECK(piommu_dma_sync_single_for_cpu(world->devices[mapping->device].dma, run->address + from,
                                         size, mapping->direction) == 0);
    memset(&world->owner[dma_world_index(run->physical + from)], (int)DMA_WORLD_CPU, (size_t)size);
}

static void pass(struct dma_world *world, const uint16_t *raw, enum dma_world_owner owner)
{
    struct dma_world_mapping *mapping = choose_mapping(world, raw[0], BUFFERS);

    if (mapping == NULL) {
        return;
    }
    /* Buffers of a list may have lines in common. */
    if (mapping->kind != DMA_WORLD_SINGLE &&
        (raw[1] % 2 == 0 || world->devices[mapping->device].config.non_coherent)) {
        pass_list(world, mapping, owner);
    } else {
        pass_part(world, mapping, &mapping->runs[raw[1] / 2 % mapping->run_count], &raw[2], owner);
    }
}

void dma_call_sync_cpu(struct dma_world *world, const uint16_t *raw)
{
    pass(world, raw, DMA_WORLD_CPU);
}

void dma_call_sync_device(struct dma_world *world, const uint16_t *raw)
{
    pass(world, raw, DMA_WORLD_DEVICE);
}

void dma_call_sync_wrong(struct dma_world *world, const uint16_t *raw)
{
    const struct dma_world_device *device = &world->devices[raw[0] % DMA_WORLD_DEVICES];
    size_t page = raw[1] % DMA_WORLD_WINDOW;
    uint64_t address = world->window + page * PAGE + raw[2] % PAGE;
    uint64_t size = 1 + raw[3] % 100u;
    bool is_noticed;
    int error;

    if (world->spaces[device->space].cells[page].state != DMA_CELL_FREE) {
        return;
    }
    dma_world_say(world, "sync %#" PRIx64 ", where nothing is", address);
    error = raw[4] % 2 == 0 ? piommu_dma_sync_single_for_cpu(device->dma, address, size,
                                                             PIOMMU_DMA_BIDIRECTIONAL)
                            : piommu_dma_sync_single_for_device(device->dma, address, size,
                                                                PIOMMU_DMA_BIDIRECTIONAL);
    is_noticed = device->untrusted || device->config.non_coherent;
    if (error != -PIOMMU_ENOENT && error != -PIOMMU_EINVAL && (is_noticed || error != 0)) {
        dma_fail("a sync where nothing is mapped returned %d", error);
    }
}

/* In a buffer and beside it, or anywhere. */
void dma_call_cpu_writes(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = choose_mapping(world, raw[0], BUFFERS);
    size_t first = raw[1] % (DMA_WORLD_PAGES * DMA_MEMORY_PAGE);
    size_t size = 1 + raw[2] % 6000u;

    if (mapping != NULL && raw[0] / 16 % 4 != 0) {
        first = dma_world_index(dma_world_memory(mapping->first_page)) +
                raw[1] % (size_t)(mapping->pages * PAGE);
    }
    if (size > DMA_WORLD_PAGES * DMA_MEMORY_PAGE - first) {
        size = DMA_WORLD_PAGES * DMA_MEMORY_PAGE - first;
    }
    dma_world_say(world, "the CPU writes %#" PRIx64 ", %#zx", dma_world_memory(0) + first, size);
    cpu_write(world, dma_world_memory(0) + first, size);
    for (size_t i = 0; i < DMA_WORLD_MAPPINGS; i++) {
        mapping = &world->mappings[i];
        for (size_t k = 0; (1u << mapping->kind & BUFFERS) != 0 && k < mapping->count; k++) {
            size_t from = dma_world_index(mapping->list[k].physical);

            for (size_t j = from; j < from + mapping->list[k].size; j++) {
                if (j >= first && j - first < size && world->owner[j] == DMA_WORLD_CPU) {
                    world->owner[j] = DMA_WORLD_WRITTEN;
                }
            }
        }
    }
}

void dma_call_device_writes(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_mapping *mapping = choose_mapping(world, raw[0], BUFFERS);
    const struct dma_world_run *run;
    uint64_t from;
    uint64_t size;
    size_t index;

    if (mapping == NULL || mapping->direction == PIOMMU_DMA_TO_DEVICE) {
        return;
    }
    run = &mapping->runs[raw[1] % mapping->run_count];
    from = raw[2] % run->size;
    size = raw[3] % 3 == 0 ? run->size - from : 1 + raw[3] % (run->size - from);
    index = dma_world_index(run->physical);
    dma_world_say(world, "device %u writes %#" PRIx64 ", %#" PRIx64, mapping->device,
                  run->address + from, size);
    for (uint64_t i = from; i < from + size; i++) {
        if (world->owner[index + i] == DMA_WORLD_DEVICE) {
            world->truth[index + i] = (uint8_t)dma_world_random(world, 256);
            dma_world_device_write(world, mapping, run->address + i, &world->truth[index + i], 1);
        }
    }
}

/* ---- What a host does ---- */

void dma_call_poll(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_space *space = &world->spaces[raw[0] % DMA_WORLD_SPACES];
    uint64_t before = dma_world_now(world);
    uint64_t next = 0;

    dma_world_say(world, "poll space %u", raw[0] % DMA_WORLD_SPACES);
    CHECK(piommu_dma_space_poll(space->space, &next) == 0);
    if (before >= space->config.lazy_time) {
        dma_world_forgotten(world, space, before - space->config.lazy_time);
    }
    if (dma_world_waiting(space) == 0) {
        CHECK(next == UINT64_MAX);
    } else {
        CHECK(next <= space->config.lazy_time);
    }
}

void dma_call_flush(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_space *space = &world->spaces[raw[0] % DMA_WORLD_SPACES];

    dma_world_say(world, "flush space %u", raw[0] % DMA_WORLD_SPACES);
    CHECK(piommu_dma_space_flush(space->space) == 0);
    dma_world_forgotten(world, space, UINT64_MAX);
    CHECK(dma_world_waiting(space) == 0);
}

void dma_call_clock(struct dma_world *world, const uint16_t *raw)
{
    world->skew += raw[0] * UINT64_C(40);
}

void dma_call_cpu(struct dma_world *world, const uint16_t *raw)
{
    world->cpu = raw[0] % (DMA_WORLD_CPUS + 1);
}

void dma_call_masks(struct dma_world *world, const uint16_t *raw)
{
    struct dma_world_device *device = &world->devices[raw[0] % DMA_WORLD_DEVICES];
    uint64_t masks[2];

    for (size_t i = 0; i < 2; i++) {
        masks[i] = world->window + ((8 + raw[1 + i] % (DMA_WORLD_WINDOW - 8)) * PAGE - 1);
    }
    dma_world_say(world, "masks of device %u: %#" PRIx64 ", %#" PRIx64, raw[0] % DMA_WORLD_DEVICES,
                  masks[0], masks[1]);
    CHECK(piommu_dma_device_set_masks(device->dma, masks[0], masks[1]) == 0);
    device->config.mask = masks[0];
    device->config.coherent_mask = masks[1];
}
