/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "front_hostile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define PAGE      4096u
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define ADDRESSES 6u
#define RUNNING   0x4u
#define DEAD      0xc0u

/* What the driver can see, as it was before a step. */
struct snapshot {
    uint32_t status;
    unsigned int resets;
    unsigned int stops;
    bool resetting;
    bool master;
    bool ready[FRONT_MACHINE_QUEUES];
    uint32_t size[FRONT_MACHINE_QUEUES];
    uint32_t addresses[FRONT_MACHINE_QUEUES][ADDRESSES];
};

static const struct front_hostile_source *source;
static struct snapshot before;
static bool any_access; /* the step switches bus mastering on: then everything is looked at */

static uint32_t next_of_state(void *ctx, unsigned int bytes)
{
    uint64_t *state = ctx;

    (void)bytes;
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 16);
}

static bool always_more(void *ctx)
{
    (void)ctx;
    return true;
}

struct front_hostile_source front_hostile_from(uint64_t *state)
{
    return (struct front_hostile_source){
        .random = next_of_state, .more = always_more, .ctx = state};
}

uint32_t front_hostile_below(const struct front_hostile_source *from, uint32_t limit)
{
    return from->random(from->ctx, limit <= 256 ? 1 : 2) % limit;
}

uint64_t front_hostile_value(const struct front_hostile_source *from, uint64_t first,
                             uint64_t stride, uint32_t places)
{
    switch (front_hostile_below(from, 6)) {
    case 0:
        return front_hostile_below(from, 4);
    case 1:
        return 1ull << front_hostile_below(from, 64);
    case 2:
        return (1ull << front_hostile_below(from, 64)) - 1;
    case 3:
        return front_hostile_below(from, 256);
    case 4:
        return first + front_hostile_below(from, places) * stride;
    default:
        return ((uint64_t)from->random(from->ctx, 4) << 32) | from->random(from->ctx, 4);
    }
}

static uint32_t below(uint32_t limit)
{
    return front_hostile_below(source, limit);
}

static uint32_t random32(void)
{
    return source->random(source->ctx, 4);
}

static uint64_t value(void)
{
    return front_hostile_value(source, FRONT_MACHINE_BAR, PIOMMU_VIRTIO_FRONT_BAR_SIZE, 16);
}

/* ---- What is looked at ---- */

static bool masters(const struct front_machine *machine)
{
    return !machine->options.pci ||
           (piommu_virtio_front_pci_config_read(machine->front, 4, 2) & 4) != 0;
}

static void look_at_queue(struct front_machine *machine, struct snapshot *snapshot,
                          unsigned int queue)
{
    front_machine_set(machine, QUEUE_SEL, queue);
    snapshot->ready[queue] = front_machine_get(machine, QUEUE_READY) != 0;
    snapshot->size[queue] = front_machine_get(machine, QUEUE_SIZE);
    for (unsigned int i = 0; i < ADDRESSES; i++) {
        snapshot->addresses[queue][i] = front_machine_get(machine, QUEUE_DESC + i);
    }
}

static struct snapshot look(struct front_machine *machine)
{
    uint32_t selected = front_machine_get(machine, QUEUE_SEL);
    struct snapshot snapshot = {.status = front_machine_get(machine, STATUS),
                                .resets = machine->resets,
                                .stops = machine->stops,
                                .resetting = machine->resetting,
                                .master = masters(machine)};

    for (unsigned int i = 0; i < FRONT_MACHINE_QUEUES; i++) {
        look_at_queue(machine, &snapshot, i);
    }
    front_machine_set(machine, QUEUE_SEL, selected);
    return snapshot;
}

static void check_access(struct front_machine *machine)
{
    assert_true(machine->working_on < FRONT_MACHINE_QUEUES);
    assert_int_equal(before.status & (RUNNING | DEAD), RUNNING);
    assert_false(before.resetting);
    assert_true(before.master || any_access);
    assert_true(before.ready[machine->working_on]);
}

/* What must not have happened in a step. */
static void compare(const struct snapshot *after)
{
    bool was_reset = after->resets != before.resets || before.resetting;

    if (!was_reset) {
        assert_int_equal(before.status & ~after->status, 0);
        for (unsigned int i = 0; i < FRONT_MACHINE_QUEUES; i++) {
            if (before.ready[i] && after->ready[i] && after->stops == before.stops) {
                assert_int_equal(after->size[i], before.size[i]);
                assert_memory_equal(after->addresses[i], before.addresses[i],
                                    sizeof(before.addresses[i]));
            }
        }
    }
    if ((after->status & 0xc) == 0x4) {
        fail_msg("DRIVER_OK without FEATURES_OK: %#x", after->status);
    }
}

/* ---- What is done ---- */

static void access_mmio(struct front_machine *machine)
{
    uint64_t offset = below(8) == 0 ? value() : below(0x130);
    unsigned int width = below(8) == 0 ? (unsigned int)value() : 1u << below(4);

    if (below(4) != 0) {
        offset &= ~3ull;
        width = 4;
    }
    if (below(2) == 0) {
        piommu_virtio_front_mmio_read(machine->front, offset, width);
    } else {
        piommu_virtio_front_mmio_write(machine->front, offset, width, value());
    }
}

static void access_bar(struct front_machine *machine)
{
    uint64_t offset = below(8) == 0 ? value() : below(8) * 0x1000u + below(0x60);
    unsigned int width = below(8) == 0 ? (unsigned int)value() : 1u << below(4);

    if (below(4) != 0 && width <= 8) {
        offset &= ~(uint64_t)(width - 1);
    }
    if (below(2) == 0) {
        piommu_virtio_front_bar_read(machine->front, offset, width);
    } else {
        piommu_virtio_front_bar_write(machine->front, offset, width, value());
    }
}

static void access_space(struct front_machine *machine)
{
    uint64_t offset = below(8) == 0 ? value() : below(0x100);
    unsigned int width = below(8) == 0 ? (unsigned int)value() : 1u << below(3);

    any_access = true;
    if (below(2) == 0) {
        piommu_virtio_front_pci_config_read(machine->front, offset, width);
    } else {
        piommu_virtio_front_pci_config_write(machine->front, offset, width, (uint32_t)value());
    }
    if (below(4) != 0) {
        piommu_virtio_front_pci_config_write(machine->front, 4, 1, 6);
    }
}

/* Registers by name. */
static void set_register(struct front_machine *machine)
{
    front_machine_set(machine, below(QUEUE_DEVICE_HIGH + 1), (uint32_t)value());
}

static void agree(struct front_machine *machine)
{
    uint64_t features = (uint64_t)random32() << 28;

    if (below(2) == 0) {
        front_machine_set(machine, STATUS, 0);
    }
    front_machine_agree(machine, features & machine->options.features);
}

static void enable(struct front_machine *machine)
{
    uint16_t queue = (uint16_t)below(FRONT_MACHINE_QUEUES + 1);

    front_machine_enable(machine, queue, (uint16_t)(1u << below(6)), below(4));
}

static void start(struct front_machine *machine)
{
    front_machine_set(machine, STATUS, 0xf);
}

static void notify(struct front_machine *machine)
{
    front_machine_notify(machine, (uint16_t)below(FRONT_MACHINE_QUEUES + 1));
}

/* Something in one of the pages where rings are: nonsense, or nearly none. */
static void scribble(struct front_machine *machine)
{
    unsigned int number = below(4);
    uint64_t place = machine->memory + number * PAGE;
    uint8_t *page = fake_os_pointer(machine->os, place, PAGE);

    assert_non_null(page);
    if (below(2) == 0) {
        front_machine_request(machine, number, (uint16_t)below(600));
    }
    if (below(2) == 0) {
        unsigned int at = 16 * below(16);
        const uint8_t descriptor[16] = {(uint8_t)place,
                                        (uint8_t)(place >> 8),
                                        (uint8_t)(place >> 16),
                                        (uint8_t)(place >> 24),
                                        [9] = (uint8_t)below(3),
                                        [12] = (uint8_t)below(20),
                                        [14] = (uint8_t)(below(8) | (below(2) << 7)),
                                        [15] = (uint8_t)(below(2) << 7)};

        memcpy(page + at, descriptor, sizeof(descriptor));
    }
    for (unsigned int i = below(6); i > 0; i--) {
        page[below(2) == 0 ? below(PAGE) : 0x800 + below(0x300)] = (uint8_t)value();
    }
}

/* What a driver that means well does, up to a request that is answered. */
static void behave(struct front_machine *machine)
{
    uint16_t queue = (uint16_t)below(FRONT_MACHINE_QUEUES);
    unsigned int page = below(4);

    front_machine_set(machine, STATUS, 0);
    front_machine_agree(
        machine, below(2) == 0 ? PIOMMU_VIRTIO_F_INDIRECT_DESC & machine->options.features : 0);
    front_machine_request(machine, page, 200);
    front_machine_enable(machine, queue, 16, page);
    start(machine);
    before = look(machine);
    front_machine_notify(machine, queue);
}

/* ---- What the device does ---- */

static void complete(struct front_machine *machine)
{
    front_machine_complete(machine, (unsigned int)value());
}

static void change(struct front_machine *machine)
{
    piommu_virtio_front_config_changed(machine->front);
    machine->slow_reset = below(2) == 0;
    machine->refuses_start = below(8) == 0;
    machine->needs_feature = below(8) == 0 ? 1 : 0;
    machine->idle = below(8) == 0;
    machine->config_moves = below(8) == 0;
}

static void fail_or_recover(struct front_machine *machine)
{
    if (machine->resetting || below(4) != 0) {
        machine->resetting = false;
        piommu_virtio_front_reset_done(machine->front);
    } else {
        piommu_virtio_front_fail(machine->front);
    }
}

static void (*const steps[])(struct front_machine *machine) = {
    set_register, set_register, agree,    enable, start,           notify, notify,
    scribble,     complete,     scribble, change, fail_or_recover, behave};

static void step(struct front_machine *machine)
{
    uint32_t choice = below(COUNT(steps) + 6);

    if (choice < COUNT(steps)) {
        steps[choice](machine);
    } else if (!machine->options.pci) {
        access_mmio(machine);
    } else if (choice % 2 == 0) {
        access_bar(machine);
    } else {
        access_space(machine);
    }
}

/* ---- All of it ---- */

void front_hostile_run(const struct front_machine_options *options,
                       const struct front_hostile_source *randomness, size_t count,
                       struct front_hostile_result *result)
{
    struct front_machine *machine = front_machine_start(options);

    source = randomness;
    before = look(machine);
    machine->on_access = check_access;
    for (size_t i = 0; i < count && source->more(source->ctx); i++) {
        struct snapshot after;

        any_access = false;
        step(machine);
        after = look(machine);
        compare(&after);
        before = after;
    }
    result->lives += machine->starts;
    result->requests += machine->completed;
    front_machine_stop(machine);
}
