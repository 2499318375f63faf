/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Split rings. Half of the tests use the virtio-iommu model as the device, and most of those run
 * with packed rings, too; the other half play the device themselves: they have seen where the
 * driver put the ring, and write into it what they like.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <piommu/virtio.h>

#include "viommu_fixture.h"

#define TYPE    23u
#define SECOND  1000000000ull
#define DETACH  20u /* bytes of a DETACH request */
#define NOBODY  0x777u
#define REQUEST 64u /* bytes from one request's memory to the next one's */

struct rings {
    struct viommu_fixture *fixture;
    struct piommu_virtio_device *device;
    struct piommu_virtqueue *queue;
    /* What the driver told the device: physical addresses. */
    uint64_t descriptors;
    uint64_t available;
    uint64_t used;
    uint16_t used_index; /* of a device that is played by the test */
};

static struct rings *current;
static void (*real_mmio_write)(void *ctx, uintptr_t address, unsigned int width, uint32_t value);
static void (*real_barrier)(void *ctx, enum piommu_barrier kind);
static void (*on_barrier)(enum piommu_barrier kind);
static void (*on_doorbell)(void);
static uint64_t offered_kind; /* RING_PACKED, or nothing */

/*
 * Windows are 16 MiB apart in the fake OS; the common one is wherever the first register access
 * goes.
 */
static void spying_mmio_write(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    unsigned int offset = (unsigned int)(address & 0xfff);
    uint64_t *slot = NULL;

    if (current != NULL && width == 4 && offset >= 32 && offset < 56) {
        slot = offset < 40   ? &current->descriptors
               : offset < 48 ? &current->available
                             : &current->used;
    }
    if (slot != NULL && current->queue == NULL) {
        if ((offset & 4) == 0) {
            *slot = (*slot & 0xffffffff00000000ull) | value;
        } else {
            *slot = (*slot & 0xffffffffull) | (uint64_t)value << 32;
        }
    }
    if (width == 2 && current != NULL && current->queue != NULL && on_doorbell != NULL) {
        on_doorbell();
    }
    real_mmio_write(ctx, address, width, value);
}

static void spying_barrier(void *ctx, enum piommu_barrier kind)
{
    real_barrier(ctx, kind);
    if (on_barrier != NULL) {
        on_barrier(kind);
    }
}

/* ---- Memory as the device sees it ---- */

static uint64_t device_get(uint64_t physical, size_t size)
{
    uint8_t bytes[8] = {0};
    uint64_t value = 0;

    assert_true(fake_os_device_read(current->fixture->os, physical, bytes, size));
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static void device_put(uint64_t physical, uint64_t value, size_t size)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i) & 0xff);
    }
    assert_true(fake_os_device_write(current->fixture->os, physical, bytes, size));
}

static uint16_t available_index(void)
{
    return (uint16_t)device_get(current->available + 2, 2);
}

static uint16_t available_entry(uint16_t index)
{
    uint16_t slot = index & (uint16_t)(piommu_virtqueue_size(current->queue) - 1);

    return (uint16_t)device_get(current->available + 4 + 2ull * slot, 2);
}

static void put_used_entry(uint16_t index, uint32_t id, uint32_t length)
{
    uint16_t slot = index & (uint16_t)(piommu_virtqueue_size(current->queue) - 1);

    device_put(current->used + 4 + 8ull * slot, id, 4);
    device_put(current->used + 8 + 8ull * slot, length, 4);
}

static void complete(uint32_t id, uint32_t length)
{
    put_used_entry(current->used_index, id, length);
    current->used_index++;
    device_put(current->used + 2, current->used_index, 2);
}

/* ---- Life ---- */

#define MAX_PIECES 64u

static int create_queue(struct piommu_virtio_device *device, uint16_t index, uint16_t max_size,
                        struct piommu_virtqueue **queue)
{
    const struct piommu_virtqueue_config config = {
        .index = index, .max_size = max_size, .max_pieces = MAX_PIECES};

    return piommu_virtqueue_create(device, &config, queue);
}

/* Whatever the device offers of rings is accepted. */
static void reset_and_negotiate(struct rings *rings)
{
    uint64_t accepted;

    assert_int_equal(piommu_virtio_reset(rings->device, SECOND), 0);
    assert_int_equal(piommu_virtio_negotiate(rings->device,
                                             VIOMMU_MODEL_F_MAP_UNMAP | PIOMMU_VIRTIO_F_GENERIC, 0,
                                             &accepted),
                     0);
}

static struct rings *prepare(const struct viommu_fixture_options *options)
{
    struct rings *rings = calloc(1, sizeof(*rings));
    struct viommu_fixture_options device;
    struct piommu_os *callbacks;
    struct piommu_virtio_pci_config config = {.type = TYPE};

    assert_non_null(rings);
    viommu_fixture_default_options(&device);
    if (options != NULL) {
        device = *options;
    }
    device.model.offered_features |= offered_kind;
    rings->fixture = viommu_fixture_create(&device);
    current = rings;
    on_barrier = NULL;
    on_doorbell = NULL;
    callbacks = fake_os_callbacks(rings->fixture->os);
    real_mmio_write = callbacks->mmio_write;
    callbacks->mmio_write = spying_mmio_write;
    real_barrier = callbacks->barrier;
    callbacks->barrier = spying_barrier;
    config.function.bdf = viommu_model_bdf(rings->fixture->model);
    config.non_coherent = rings->fixture->options.os.non_coherent_rings;
    assert_int_equal(
        piommu_virtio_pci_open(fake_os_host(rings->fixture->os), &config, &rings->device), 0);
    reset_and_negotiate(rings);
    return rings;
}

static bool is_packed(void)
{
    return viommu_fixture_is_packed(&current->fixture->options);
}

static struct rings *start(const struct viommu_fixture_options *options, uint16_t size)
{
    struct rings *rings = prepare(options);
    struct piommu_virtqueue *queue = NULL;

    assert_int_equal(create_queue(rings->device, 0, size, &queue), 0);
    assert_non_null(queue);
    rings->queue = queue;
    piommu_virtio_start(rings->device);
    return rings;
}

/* With a device that the test plays: the model never touches the ring. */
static struct rings *start_alone(uint16_t size)
{
    struct viommu_fixture_options options;

    viommu_fixture_default_options(&options);
    options.processing = VIOMMU_MODEL_NEVER;
    return start(&options, size);
}

static void end(struct rings *rings)
{
    assert_int_equal(piommu_virtio_reset(rings->device, SECOND), 0);
    piommu_virtqueue_destroy(rings->queue);
    piommu_virtqueue_destroy(NULL);
    piommu_virtio_close(rings->device);
    viommu_fixture_destroy(rings->fixture);
    current = NULL;
    free(rings);
}

/* ---- Requests: DETACH of an endpoint that nobody knows; the answer is NOENT ---- */

static uint64_t request_memory(const struct rings *rings, uint32_t number)
{
    return rings->fixture->memory + (uint64_t)number * REQUEST;
}

static uint64_t status_memory(const struct rings *rings, uint32_t number)
{
    return request_memory(rings, number) + 32;
}

/* Memory number `number` holds a DETACH of endpoint NOBODY + number from domain 1. */
static int try_add(struct rings *rings, uint32_t number, uint16_t *head)
{
    struct piommu_virtio_buffer buffers[] = {
        {.physical = request_memory(rings, number), .size = DETACH},
        {.physical = status_memory(rings, number), .size = 4, .writable = true},
    };

    for (unsigned int i = 0; i < DETACH; i++) {
        device_put(request_memory(rings, number) + i, 0, 1);
    }
    device_put(request_memory(rings, number), VIOMMU_MODEL_DETACH, 1);
    device_put(request_memory(rings, number) + 4, 1, 4);
    device_put(request_memory(rings, number) + 8, NOBODY + number, 4);
    device_put(status_memory(rings, number), 0xee, 4);
    return piommu_virtqueue_add(rings->queue, buffers, 2, head);
}

static uint16_t add(struct rings *rings, uint32_t number)
{
    uint16_t head = 0xffff;

    assert_int_equal(try_add(rings, number, &head), 0);
    assert_true(head < piommu_virtqueue_size(rings->queue));
    return head;
}

static int take(struct rings *rings, uint16_t *head, uint32_t *length)
{
    *head = 0xffff;
    *length = 0xffffffff;
    return piommu_virtqueue_take(rings->queue, head, length);
}

/* A ring that the device has corrupted gives nothing back any more, and harms nobody. */
static void expect_dead(struct rings *rings)
{
    uint16_t head;
    uint32_t length;

    for (unsigned int i = 0; i < 3; i++) {
        assert_int_equal(take(rings, &head, &length), -PIOMMU_EIO);
    }
    piommu_virtqueue_kick(rings->queue);
}

static int offer_packed_rings(void **state)
{
    (void)state;
    offered_kind = VIOMMU_MODEL_F_RING_PACKED;
    return 0;
}

static int offer_split_rings(void **state)
{
    (void)state;
    offered_kind = 0;
    return 0;
}

/* Requests after which an index has wrapped, which has 16 bits, or goes to the end of the ring. */
static uint32_t rounds_to_wrap(void)
{
    return offered_kind != 0 ? 1001 : 66001;
}

/* ---- Creation ---- */

static void test_create_refuses_wrong_sizes(void **state)
{
    struct rings *rings = prepare(NULL);
    static const uint16_t wrong[] = {0, 1, 3, 6, 255, 257, 32769, 65535};
    struct piommu_virtqueue *queue = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(create_queue(rings->device, 0, wrong[i], &queue), -PIOMMU_EINVAL);
    }
    assert_null(queue);
    end(rings);
}

static void test_create_refuses_a_queue_that_the_device_lacks(void **state)
{
    struct rings *rings = prepare(NULL);
    struct piommu_virtqueue *queue = NULL;

    (void)state;
    assert_int_equal(create_queue(rings->device, 2, 16, &queue), -PIOMMU_EBADMSG);
    assert_int_equal(create_queue(rings->device, 65535, 16, &queue), -PIOMMU_EBADMSG);
    assert_null(queue);
    end(rings);
}

static void test_create_takes_the_smaller_size(void **state)
{
    struct viommu_fixture_options options;
    struct rings *rings;

    (void)state;
    viommu_fixture_default_options(&options);
    options.model.queue_size[0] = 8;
    rings = start(&options, 32768);
    assert_int_equal(piommu_virtqueue_size(rings->queue), 8);
    end(rings);
    rings = start(NULL, 2);
    assert_int_equal(piommu_virtqueue_size(rings->queue), 2);
    end(rings);
    options.model.queue_size[0] = 32768;
    rings = start(&options, 32768);
    assert_int_equal(piommu_virtqueue_size(rings->queue), 32768);
    end(rings);
}

static void test_create_refuses_impossible_queues(void **state)
{
    static const uint64_t sizes[] = {0, 3, 6, 100, 32769, 65535};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct rings *rings = prepare(NULL);
        struct piommu_virtqueue *queue = NULL;

        viommu_model_misbehave(rings->fixture->model, VIOMMU_MODEL_QUEUE_SIZE, 0, sizes[i]);
        assert_int_equal(create_queue(rings->device, 0, 64, &queue), -PIOMMU_EBADMSG);
        assert_null(queue);
        end(rings);
    }
}

static void test_create_survives_each_failure_of_the_host(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct rings *rings = prepare(NULL);
        struct piommu_virtqueue *queue = NULL;
        uint64_t before = fake_os_bytes_outstanding(rings->fixture->os);
        int error;

        assert_true(nth < 20);
        fake_os_fail_call(rings->fixture->os, nth, false);
        error = create_queue(rings->device, 0, 64, &queue);
        fake_os_fail_call(rings->fixture->os, 0, false);
        if (error == 0) {
            assert_true(nth > 1);
            rings->queue = queue;
            end(rings);
            return;
        }
        assert_int_equal(error, -PIOMMU_ENOMEM);
        assert_null(queue);
        assert_int_equal(fake_os_bytes_outstanding(rings->fixture->os), before);
        /* The queue can be made all the same afterwards. */
        assert_int_equal(create_queue(rings->device, 0, 64, &queue), 0);
        rings->queue = queue;
        end(rings);
    }
}

static void test_ring_memory_is_asked_for_as_such(void **state)
{
    struct rings *rings = start(NULL, 64);

    (void)state;
    assert_int_equal(rings->descriptors & 15, 0);
    assert_int_equal(rings->available & 1, 0);
    assert_int_equal(rings->used & 3, 0);
    assert_true(fake_os_is_dma_memory(rings->fixture->os, rings->descriptors, 16 * 64));
    assert_true(fake_os_is_dma_memory(rings->fixture->os, rings->available, 6 + 2 * 64));
    assert_true(fake_os_is_dma_memory(rings->fixture->os, rings->used, 6 + 8 * 64));
    assert_int_equal(available_index(), 0);
    assert_int_equal(device_get(rings->used + 2, 2), 0);
    end(rings);
}

static void test_rings_work_where_addresses_are_scattered(void **state)
{
    struct viommu_fixture_options options;
    struct rings *rings;
    uint16_t head;
    uint16_t taken;
    uint32_t length;

    (void)state;
    viommu_fixture_default_options(&options);
    options.os.scattered = true;
    rings = start(&options, 16);
    head = add(rings, 0);
    piommu_virtqueue_kick(rings->queue);
    assert_int_equal(take(rings, &taken, &length), 1);
    assert_int_equal(taken, head);
    end(rings);
}

/* ---- Honest use ---- */

static void test_requests_come_back_with_the_names_they_got(void **state)
{
    struct rings *rings = start(NULL, 16);
    uint16_t heads[8];
    uint16_t head;
    uint32_t length;

    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        heads[i] = add(rings, i);
        for (uint32_t j = 0; j < i; j++) {
            assert_int_not_equal(heads[i], heads[j]);
        }
    }
    assert_int_equal(take(rings, &head, &length), 0);
    assert_int_equal(viommu_model_counters(rings->fixture->model)->doorbells[0], 0);
    piommu_virtqueue_kick(rings->queue);
    assert_int_equal(viommu_model_counters(rings->fixture->model)->doorbells[0], 1);
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(take(rings, &head, &length), 1);
        assert_int_equal(head, heads[i]);
        assert_int_equal(length, 4);
        assert_int_equal(device_get(status_memory(rings, i), 1), VIOMMU_MODEL_S_NOENT);
        assert_int_equal(rings->fixture->log[i].request.endpoint, NOBODY + i);
    }
    assert_int_equal(take(rings, &head, &length), 0);
    end(rings);
}

static void test_requests_are_told_apart_in_any_order(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    viommu_fixture_default_options(&options);
    options.processing = VIOMMU_MODEL_AT_RUN;
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct rings *rings = start(&options, 32);
        uint32_t number_of[32];
        bool seen[16] = {false};
        uint16_t head;
        uint32_t length;

        viommu_model_set_order(rings->fixture->model,
                               seed == 0 ? VIOMMU_MODEL_REVERSED : VIOMMU_MODEL_SHUFFLED, seed);
        for (uint32_t i = 0; i < 16; i++) {
            number_of[add(rings, i)] = i;
        }
        piommu_virtqueue_kick(rings->queue);
        assert_int_equal(take(rings, &head, &length), 0);
        for (uint32_t done = 0; done < 16; done++) {
            assert_int_equal(viommu_model_run(rings->fixture->model, 1), 1);
            assert_int_equal(take(rings, &head, &length), 1);
            assert_false(seen[number_of[head]]);
            seen[number_of[head]] = true;
            assert_int_equal(device_get(status_memory(rings, number_of[head]), 1),
                             VIOMMU_MODEL_S_NOENT);
        }
        end(rings);
    }
}

static void test_ring_indices_wrap(void **state)
{
    struct rings *rings = start(NULL, offered_kind != 0 ? 5 : 4);
    uint16_t head;
    uint32_t length;

    (void)state;
    rings->fixture->paused = true;
    for (uint32_t i = 0; i < rounds_to_wrap(); i++) {
        uint16_t first = add(rings, i & 1);

        piommu_virtqueue_kick(rings->queue);
        assert_int_equal(take(rings, &head, &length), 1);
        assert_int_equal(head, first);
        assert_int_equal(length, 4);
    }
    assert_int_equal(viommu_model_counters(rings->fixture->model)->requests[VIOMMU_MODEL_DETACH],
                     rounds_to_wrap());
    end(rings);
}

static void test_a_full_ring_says_so_and_recovers(void **state)
{
    struct viommu_fixture_options options;
    struct rings *rings;
    uint16_t head = 0x5555;
    uint32_t length;

    (void)state;
    viommu_fixture_default_options(&options);
    options.processing = VIOMMU_MODEL_AT_RUN;
    rings = start(&options, 8);
    for (unsigned int round = 0; round < 10; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            (void)add(rings, i);
        }
        head = 0x5555;
        assert_int_equal(try_add(rings, 5, &head), -PIOMMU_ENOSPC);
        assert_int_equal(head, 0x5555);
        piommu_virtqueue_kick(rings->queue);
        assert_int_equal(viommu_model_run(rings->fixture->model, SIZE_MAX), 4);
        for (uint32_t i = 0; i < 4; i++) {
            assert_int_equal(take(rings, &head, &length), 1);
        }
    }
    end(rings);
}

static void test_a_ring_holds_as_many_descriptors_as_it_has_entries(void **state)
{
    struct rings *rings = start_alone(8);
    struct piommu_virtio_buffer one = {.physical = rings->fixture->memory, .size = 4};
    struct piommu_virtio_buffer many[9];
    uint16_t head;
    uint32_t length;

    (void)state;
    for (size_t i = 0; i < 9; i++) {
        many[i] = one;
    }
    for (unsigned int i = 0; i < 8; i++) {
        assert_int_equal(piommu_virtqueue_add(rings->queue, &one, 1, &head), 0);
    }
    assert_int_equal(piommu_virtqueue_add(rings->queue, &one, 1, &head), -PIOMMU_ENOSPC);
    for (uint16_t i = 0; i < 8; i++) {
        complete(available_entry(i), 0);
    }
    for (unsigned int i = 0; i < 8; i++) {
        assert_int_equal(take(rings, &head, &length), 1);
    }
    assert_int_equal(piommu_virtqueue_add(rings->queue, many, 8, &head), 0);
    assert_int_equal(piommu_virtqueue_add(rings->queue, &one, 1, &head), -PIOMMU_ENOSPC);
    complete(head, 0);
    assert_int_equal(take(rings, &head, &length), 1);
    /* More than the ring can ever take. */
    assert_int_not_equal(piommu_virtqueue_add(rings->queue, many, 9, &head), 0);
    end(rings);
}

static void test_add_refuses_malformed_requests(void **state)
{
    struct rings *rings = start(NULL, 8);
    uint64_t at = rings->fixture->memory;
    const struct piommu_virtio_buffer wrong_order[] = {
        {.physical = at, .size = 4, .writable = true},
        {.physical = at + 64, .size = 4},
    };
    const struct piommu_virtio_buffer mixed[] = {
        {.physical = at, .size = 4},
        {.physical = at + 64, .size = 4, .writable = true},
        {.physical = at + 128, .size = 4},
    };
    const struct piommu_virtio_buffer empty[] = {
        {.physical = at, .size = 4},
        {.physical = at + 64, .size = 0, .writable = true},
    };
    uint16_t head = 0x5555;

    (void)state;
    assert_int_equal(piommu_virtqueue_add(rings->queue, wrong_order, 2, &head), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtqueue_add(rings->queue, mixed, 3, &head), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtqueue_add(rings->queue, empty, 2, &head), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtqueue_add(rings->queue, empty, 0, &head), -PIOMMU_EINVAL);
    assert_int_equal(head, 0x5555);
    assert_int_equal(available_index(), 0);
    /* Nothing was used up by them. */
    for (uint32_t i = 0; i < 4; i++) {
        (void)add(rings, i);
    }
    end(rings);
}

static void test_descriptors_say_what_was_asked(void **state)
{
    struct rings *rings = start_alone(8);
    uint64_t at = rings->fixture->memory;
    const struct piommu_virtio_buffer buffers[] = {
        {.physical = 0x123456789abcdef0ull, .size = 0xfffffff0},
        {.physical = at + 64, .size = 5},
        {.physical = at + 128, .size = 7, .writable = true},
        {.physical = at + 192, .size = 9, .writable = true},
    };
    uint16_t head;
    uint16_t next;

    (void)state;
    assert_int_equal(piommu_virtqueue_add(rings->queue, buffers, 4, &head), 0);
    assert_int_equal(available_index(), 0);
    assert_true(piommu_virtqueue_publish(rings->queue));
    assert_int_equal(available_index(), 1);
    assert_int_equal(available_entry(0), head);
    next = head;
    for (size_t i = 0; i < 4; i++) {
        uint64_t descriptor = rings->descriptors + 16ull * next;
        uint64_t flags = device_get(descriptor + 12, 2);

        assert_int_equal(device_get(descriptor, 8), buffers[i].physical);
        assert_int_equal(device_get(descriptor + 8, 4), buffers[i].size);
        assert_int_equal(flags, (i < 3 ? 1 : 0) | (buffers[i].writable ? 2 : 0));
        next = (uint16_t)device_get(descriptor + 14, 2);
        assert_true(i == 3 || next < 8);
    }
    end(rings);
}

/* ---- Order of accesses ---- */

static uint16_t barrier_index; /* available.idx at the last barrier that orders writes */
static bool entry_was_ready; /* the request was complete in memory at a barrier before idx moved */
static bool index_was_ready; /* idx had moved at a barrier before the doorbell */
static uint64_t ready_physical;

static void watch_publication(enum piommu_barrier kind)
{
    uint16_t head;

    if (kind == PIOMMU_BARRIER_READ) {
        return;
    }
    barrier_index = available_index();
    head = available_entry(0);
    if (barrier_index == 0 && head < 8 &&
        device_get(current->descriptors + 16ull * head, 8) == ready_physical) {
        entry_was_ready = true;
    }
    if (barrier_index == 1 && kind == PIOMMU_BARRIER_FULL) {
        index_was_ready = true;
    }
}

static void watch_doorbell(void)
{
    /* Unless barriers came in time, a device could see the doorbell first. */
    assert_true(index_was_ready);
}

static void test_barriers_order_request_index_and_doorbell(void **state)
{
    struct rings *rings = start_alone(8);

    (void)state;
    entry_was_ready = false;
    index_was_ready = false;
    ready_physical = request_memory(rings, 0);
    device_put(rings->available + 4, 0xffff, 2);
    on_barrier = watch_publication;
    on_doorbell = watch_doorbell;
    (void)add(rings, 0);
    piommu_virtqueue_kick(rings->queue);
    assert_true(entry_was_ready);
    assert_int_equal(available_index(), 1);
    assert_true(index_was_ready);
    on_barrier = NULL;
    on_doorbell = NULL;
    end(rings);
}

static uint16_t late_head;

static void write_entry_at_read_barrier(enum piommu_barrier kind)
{
    if (kind != PIOMMU_BARRIER_WRITE) {
        put_used_entry(0, late_head, 4);
    }
}

/* Without the barrier the entry could be older than the index: here it is wrong until then. */
static void test_used_entries_are_read_behind_a_barrier(void **state)
{
    struct rings *rings = start_alone(8);
    uint16_t head;
    uint32_t length;

    (void)state;
    late_head = add(rings, 0);
    put_used_entry(0, 0xffffffff, 0xffffffff);
    device_put(rings->used + 2, 1, 2);
    on_barrier = write_entry_at_read_barrier;
    assert_int_equal(take(rings, &head, &length), 1);
    on_barrier = NULL;
    assert_int_equal(head, late_head);
    assert_int_equal(length, 4);
    end(rings);
}

static void test_no_doorbell_rings_where_the_device_asked_for_silence(void **state)
{
    struct rings *rings = start_alone(8);

    (void)state;
    device_put(rings->used, 1, 2);
    (void)add(rings, 0);
    piommu_virtqueue_kick(rings->queue);
    assert_int_equal(viommu_model_counters(rings->fixture->model)->doorbells[0], 0);
    device_put(rings->used, 0, 2);
    /* It knows of what it was shown. */
    piommu_virtqueue_kick(rings->queue);
    assert_int_equal(viommu_model_counters(rings->fixture->model)->doorbells[0], 0);
    (void)add(rings, 1);
    piommu_virtqueue_kick(rings->queue);
    assert_int_equal(viommu_model_counters(rings->fixture->model)->doorbells[0], 1);
    end(rings);
}

/* ---- Hostile devices ---- */

/* Two requests are in flight; the device answers with one wrong entry. */
static void expect_corruption(uint32_t id_offset, uint32_t id, uint32_t length)
{
    struct rings *rings = start_alone(8);
    uint16_t head = add(rings, 0);

    (void)add(rings, 1);
    complete(id_offset != 0 ? head + id_offset : id, length);
    expect_dead(rings);
    end(rings);
}

static void test_used_ids_out_of_range_are_refused(void **state)
{
    static const uint32_t ids[] = {8, 9, 255, 0x8000, 0xffff, 0x10000, 0x80000000, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        expect_corruption(0, ids[i], 4);
    }
    /* In range once it is narrowed to 16 bits. */
    expect_corruption(0x10000, 0, 4);
    expect_corruption(0x80000000, 0, 4);
}

static void test_used_ids_that_head_nothing_in_flight_are_refused(void **state)
{
    struct rings *rings;
    uint16_t heads[2];
    uint16_t taken;
    uint32_t length;

    (void)state;
    for (uint16_t id = 0; id < 8; id++) {
        rings = start_alone(8);
        heads[0] = add(rings, 0);
        heads[1] = add(rings, 1);
        complete(id, 4);
        if (id == heads[0] || id == heads[1]) {
            assert_int_equal(take(rings, &taken, &length), 1);
            assert_int_equal(taken, id);
        } else {
            expect_dead(rings);
        }
        end(rings);
    }
}

static void test_a_request_comes_back_once(void **state)
{
    struct rings *rings = start_alone(8);
    uint16_t head = add(rings, 0);
    uint16_t taken;
    uint32_t length;

    (void)state;
    (void)add(rings, 1);
    complete(head, 4);
    complete(head, 4);
    assert_int_equal(take(rings, &taken, &length), 1);
    assert_int_equal(taken, head);
    expect_dead(rings);
    end(rings);
}

static void test_index_jumps_are_noticed(void **state)
{
    static const uint16_t jumps[] = {3, 4, 8, 9, 0x7fff, 0x8000, 0xfffe, 0xffff};

    (void)state;
    for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
        struct rings *rings = start_alone(8);
        uint16_t first = add(rings, 0);
        uint16_t second = add(rings, 1);

        /* Whatever the entries say: two are in flight, so the index may be 2 at most. */
        put_used_entry(0, first, 4);
        put_used_entry(1, second, 4);
        put_used_entry(2, first, 4);
        device_put(rings->used + 2, jumps[i], 2);
        expect_dead(rings);
        end(rings);
    }
}

static void test_an_index_that_goes_back_is_noticed(void **state)
{
    struct rings *rings = start_alone(8);
    uint16_t head = add(rings, 0);
    uint16_t taken;
    uint32_t length;

    (void)state;
    (void)add(rings, 1);
    complete(head, 4);
    assert_int_equal(take(rings, &taken, &length), 1);
    device_put(rings->used + 2, 0, 2);
    expect_dead(rings);
    end(rings);
}

static void test_an_index_without_anything_in_flight_is_noticed(void **state)
{
    struct rings *rings = start_alone(8);

    (void)state;
    complete(0, 0);
    expect_dead(rings);
    end(rings);
}

static void test_impossible_lengths_are_refused(void **state)
{
    static const uint32_t lengths[] = {5,       20,         24,         0x10000,
                                       0x10004, 0x7fffffff, 0x80000004, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct rings *rings = start_alone(8);

        complete(add(rings, 0), lengths[i]);
        expect_dead(rings);
        end(rings);
    }
}

static void test_a_corrupted_ring_does_not_recover_by_itself(void **state)
{
    struct rings *rings = start_alone(8);
    uint16_t head = add(rings, 0);
    uint16_t taken;
    uint32_t length;

    (void)state;
    complete(0xffffffff, 4);
    assert_int_equal(take(rings, &taken, &length), -PIOMMU_EIO);
    put_used_entry(0, head, 4);
    expect_dead(rings);
    end(rings);
}

static void test_short_lengths_are_passed_on(void **state)
{
    (void)state;
    for (uint32_t told = 0; told <= 4; told++) {
        struct rings *rings = start_alone(8);
        uint16_t head;
        uint32_t length;

        complete(add(rings, 0), told);
        assert_int_equal(take(rings, &head, &length), 1);
        assert_int_equal(length, told);
        end(rings);
    }
}

/* The sum of what is writable must not wrap. */
static void test_lengths_of_huge_requests_do_not_wrap(void **state)
{
    struct rings *rings = start_alone(8);
    const struct piommu_virtio_buffer buffers[] = {
        {.physical = rings->fixture->memory, .size = 0x80000000u, .writable = true},
        {.physical = rings->fixture->memory, .size = 0x80000010u, .writable = true},
    };
    uint16_t head;
    uint16_t taken;
    uint32_t length;
    int error = piommu_virtqueue_add(rings->queue, buffers, 2, &head);

    (void)state;
    /* 2.1.1: no more than 2^32 bytes in one request. Refusing it is fine, miscounting is not. */
    if (error == 0) {
        complete(head, 0x20);
        assert_int_equal(take(rings, &taken, &length), 1);
        assert_int_equal(length, 0x20);
    } else {
        assert_int_equal(error, -PIOMMU_EINVAL);
    }
    end(rings);
}

static void test_the_driver_never_believes_its_own_descriptors(void **state)
{
    struct rings *rings = start_alone(8);
    uint16_t head = add(rings, 0);
    uint16_t again[4];
    uint16_t taken;
    uint32_t length;

    (void)state;
    (void)piommu_virtqueue_publish(rings->queue);
    /* The device overwrites the table and the available ring, and then answers. */
    for (unsigned int i = 0; i < 8 * 16; i++) {
        device_put(rings->descriptors + i, 0xff, 1);
    }
    for (unsigned int i = 0; i < 4 + 2 * 8; i++) {
        device_put(rings->available + i, 0xff, 1);
    }
    complete(head, 4);
    assert_int_equal(take(rings, &taken, &length), 1);
    assert_int_equal(taken, head);
    for (uint32_t i = 0; i < 4; i++) {
        again[i] = add(rings, i);
        (void)piommu_virtqueue_publish(rings->queue);
        for (uint32_t j = 0; j < i; j++) {
            assert_int_not_equal(again[i], again[j]);
        }
        /* Its own count is right again, whatever the device had written. */
        assert_int_equal(available_index(), 2 + i);
        assert_int_equal(available_entry((uint16_t)(1 + i)), again[i]);
        assert_int_equal(device_get(rings->descriptors + 16ull * again[i], 8),
                         request_memory(rings, i));
    }
    for (uint32_t i = 0; i < 4; i++) {
        complete(again[i], 4);
        assert_int_equal(take(rings, &taken, &length), 1);
        assert_int_equal(taken, again[i]);
    }
    end(rings);
}

/* ---- Indirect descriptors ---- */

static struct rings *start_with(uint64_t features, enum viommu_model_processing processing,
                                uint16_t size)
{
    struct viommu_fixture_options options;

    viommu_fixture_default_options(&options);
    options.model.offered_features |= features;
    options.processing = processing;
    return start(&options, size);
}

static void make_pieces(const struct rings *rings, struct piommu_virtio_buffer *pieces,
                        uint16_t count)
{
    for (uint16_t i = 0; i < count; i++) {
        pieces[i] = (struct piommu_virtio_buffer){
            .physical = request_memory(rings, i), .size = 1u + i, .writable = i >= count / 2};
    }
}

static void expect_descriptor(uint64_t at, const struct piommu_virtio_buffer *piece, bool last)
{
    assert_int_equal(device_get(at, 8), piece->physical);
    assert_int_equal(device_get(at + 8, 4), piece->size);
    assert_int_equal(device_get(at + 12, 2), (last ? 0 : 1) | (piece->writable ? 2 : 0));
}

static void test_a_request_of_many_pieces_takes_one_entry(void **state)
{
    struct rings *rings = start_with(VIOMMU_MODEL_F_INDIRECT_DESC, VIOMMU_MODEL_NEVER, 4);
    struct piommu_virtio_buffer pieces[MAX_PIECES + 1];
    uint16_t heads[4];
    uint16_t taken;
    uint32_t length;

    (void)state;
    make_pieces(rings, pieces, MAX_PIECES + 1);
    for (unsigned int round = 0; round < 3; round++) {
        for (uint16_t i = 0; i < 4; i++) {
            uint64_t table;
            uint16_t next = 0;

            assert_int_equal(piommu_virtqueue_add(rings->queue, pieces, MAX_PIECES, &heads[i]), 0);
            assert_int_equal(available_entry((uint16_t)(4 * round + i)), heads[i]);
            table = device_get(rings->descriptors + 16ull * heads[i], 8);
            assert_int_equal(table % 16, 0);
            assert_int_equal(device_get(rings->descriptors + 16ull * heads[i] + 8, 4),
                             16 * MAX_PIECES);
            assert_int_equal(device_get(rings->descriptors + 16ull * heads[i] + 12, 2), 4);
            for (uint16_t j = 0; j < MAX_PIECES; j++) {
                expect_descriptor(table + 16ull * next, &pieces[j], j + 1 == MAX_PIECES);
                next = (uint16_t)device_get(table + 16ull * next + 14, 2);
            }
        }
        assert_int_equal(piommu_virtqueue_add(rings->queue, pieces, 1, &taken), -PIOMMU_ENOSPC);
        for (uint16_t i = 4; i-- > 0;) {
            complete(heads[i], 5);
            assert_int_equal(take(rings, &taken, &length), 1);
            assert_int_equal(taken, heads[i]);
            assert_int_equal(length, 5);
        }
    }
    assert_int_equal(piommu_virtqueue_add(rings->queue, pieces, MAX_PIECES + 1, &taken),
                     -PIOMMU_EINVAL);
    end(rings);
}

static void test_the_device_works_through_tables(void **state)
{
    struct rings *rings = start_with(VIOMMU_MODEL_F_INDIRECT_DESC, VIOMMU_MODEL_AT_DOORBELL, 4);
    uint16_t heads[4];
    uint16_t taken;
    uint32_t length;

    (void)state;
    for (unsigned int round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            heads[i] = add(rings, i);
        }
        piommu_virtqueue_kick(rings->queue);
        for (uint32_t i = 0; i < 4; i++) {
            assert_int_equal(take(rings, &taken, &length), 1);
            assert_int_equal(taken, heads[i]);
            assert_int_equal(length, 4);
            assert_int_equal(device_get(status_memory(rings, i), 1), VIOMMU_MODEL_S_NOENT);
        }
    }
    end(rings);
}

/* Nothing in the tables is believed, nor are IDs of entries that are not in flight. */
static void test_lies_about_tables_are_noticed(void **state)
{
    (void)state;
    for (uint32_t id = 0; id < 5; id++) {
        struct rings *rings = start_with(VIOMMU_MODEL_F_INDIRECT_DESC, VIOMMU_MODEL_NEVER, 4);
        uint16_t head = add(rings, 0);
        uint64_t table = device_get(rings->descriptors + 16ull * head, 8);
        uint16_t taken;
        uint32_t length;

        for (unsigned int i = 0; i < 32; i++) {
            device_put(table + i, 0xff, 1);
        }
        complete(id, 4);
        if (id == head) {
            assert_int_equal(take(rings, &taken, &length), 1);
            assert_int_equal(length, 4);
            (void)add(rings, 1);
            complete(head, 5); /* more than was writable */
        }
        expect_dead(rings);
        end(rings);
    }
}

static void test_capacity_is_what_fits(void **state)
{
    struct rings *rings = start_with(0, VIOMMU_MODEL_NEVER, 16);

    (void)state;
    assert_int_equal(piommu_virtqueue_capacity(rings->queue, 1), 16);
    assert_int_equal(piommu_virtqueue_capacity(rings->queue, 2), 8);
    assert_int_equal(piommu_virtqueue_capacity(rings->queue, 3), 5);
    assert_int_equal(piommu_virtqueue_capacity(rings->queue, 16), 1);
    assert_int_equal(piommu_virtqueue_capacity(rings->queue, 17), 0);
    end(rings);
    rings = start_with(VIOMMU_MODEL_F_INDIRECT_DESC, VIOMMU_MODEL_NEVER, 16);
    assert_int_equal(piommu_virtqueue_capacity(rings->queue, 1), 16);
    assert_int_equal(piommu_virtqueue_capacity(rings->queue, 2), 16);
    assert_int_equal(piommu_virtqueue_capacity(rings->queue, MAX_PIECES), 16);
    end(rings);
}

static void test_pieces_are_as_many_as_was_said(void **state)
{
    struct piommu_virtqueue_config config = {.max_size = 16};
    struct rings *rings = prepare(NULL);
    struct piommu_virtqueue *queue = NULL;
    struct piommu_virtio_buffer pieces[2];
    uint16_t head;

    (void)state;
    config.max_pieces = 1025;
    assert_int_equal(piommu_virtqueue_create(rings->device, &config, &queue), -PIOMMU_EINVAL);
    config.max_pieces = 0; /* the default: 1 */
    assert_int_equal(piommu_virtqueue_create(rings->device, &config, &queue), 0);
    rings->queue = queue;
    make_pieces(rings, pieces, 2);
    assert_int_equal(piommu_virtqueue_add(queue, pieces, 2, &head), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtqueue_add(queue, pieces, 1, &head), 0);
    end(rings);
}

/* ---- Event indices ---- */

static uint64_t used_event_at(void)
{
    return current->available + 4 + 2ull * piommu_virtqueue_size(current->queue);
}

static uint64_t avail_event_at(void)
{
    return current->used + 4 + 8ull * piommu_virtqueue_size(current->queue);
}

static void add_pieces(struct rings *rings, unsigned int count)
{
    const struct piommu_virtio_buffer piece = {.physical = rings->fixture->memory, .size = 4};
    uint16_t head;

    for (unsigned int i = 0; i < count; i++) {
        assert_int_equal(piommu_virtqueue_add(rings->queue, &piece, 1, &head), 0);
    }
}

static void complete_and_take(struct rings *rings, unsigned int count)
{
    uint16_t head;
    uint32_t length;

    for (unsigned int i = 0; i < count; i++) {
        complete(available_entry(rings->used_index), 0);
        assert_int_equal(take(rings, &head, &length), 1);
    }
}

/* The doorbell is wanted exactly if the index passes avail_event: 2.7.7.2, also where it wraps. */
static void test_doorbells_follow_the_devices_event_index(void **state)
{
    struct rings *rings = start_with(VIOMMU_MODEL_F_EVENT_IDX, VIOMMU_MODEL_NEVER, 8);
    uint32_t random = 11;
    unsigned int wanted = 0;
    uint16_t index = 0;

    (void)state;
    for (unsigned int round = 0; round < 30000; round++) {
        unsigned int count;
        uint16_t event;
        bool due;

        random = random * 1664525u + 1013904223u;
        count = random >> 29;
        event = (uint16_t)(index + (random >> 20 & 15) - 4);
        device_put(avail_event_at(), event, 2);
        /* Flags mean nothing then. */
        device_put(rings->used, random >> 10 & 1, 2);
        add_pieces(rings, count);
        due = (uint16_t)(index + count - event - 1) < (uint16_t)count;
        assert_int_equal(piommu_virtqueue_publish(rings->queue), due);
        index = (uint16_t)(index + count);
        assert_int_equal(available_index(), index);
        assert_false(piommu_virtqueue_publish(rings->queue));
        complete_and_take(rings, count);
        wanted += due;
    }
    assert_in_range(wanted, 3000, 27000);
    assert_int_equal(viommu_model_counters(rings->fixture->model)->doorbells[0], 0);
    piommu_virtqueue_ring(rings->queue);
    assert_int_equal(viommu_model_counters(rings->fixture->model)->doorbells[0], 1);
    viommu_model_forget_violations(rings->fixture->model);
    end(rings);
}

static void use_serially(struct rings *rings, unsigned int rounds)
{
    uint16_t head;
    uint32_t length;

    rings->fixture->paused = true;
    for (unsigned int i = 0; i < rounds; i++) {
        (void)add(rings, i & 1);
        piommu_virtqueue_kick(rings->queue);
        if (piommu_virtqueue_take(rings->queue, &head, &length) == 0) {
            (void)viommu_model_run(rings->fixture->model, 1);
            assert_int_equal(take(rings, &head, &length), 1);
        }
    }
}

static void test_serial_use_rings_for_each_request_and_for_nothing(void **state)
{
    static const uint64_t features[] = {0, VIOMMU_MODEL_F_EVENT_IDX, VIOMMU_MODEL_F_INDIRECT_DESC,
                                        VIOMMU_RING_FEATURES};

    (void)state;
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        struct rings *rings = start_with(features[i], VIOMMU_MODEL_AT_DOORBELL, 4);
        const struct viommu_model_counters *counters = viommu_model_counters(rings->fixture->model);

        use_serially(rings, rounds_to_wrap());
        assert_int_equal(counters->doorbells[0], rounds_to_wrap());
        assert_int_equal(counters->superfluous_doorbells[0], 0);
        assert_int_equal(counters->missing_doorbells[0], 0);
        end(rings);
    }
}

/* A device that looks by itself is left in peace. */
static void test_serial_use_leaves_a_device_in_peace_that_looks_by_itself(void **state)
{
    static const uint64_t features[] = {0, VIOMMU_MODEL_F_EVENT_IDX};

    (void)state;
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        struct rings *rings = start_with(features[i], VIOMMU_MODEL_AT_RUN, 4);
        const struct viommu_model_counters *counters = viommu_model_counters(rings->fixture->model);
        uint64_t doorbells;

        viommu_model_set_notification(rings->fixture->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
        use_serially(rings, 4);
        doorbells = counters->doorbells[0];
        use_serially(rings, 2000);
        assert_int_equal(counters->doorbells[0], doorbells);
        assert_int_equal(counters->missing_doorbells[0], 0);
        end(rings);
    }
}

/* What the device says of doorbells is read anew each time, from behind the cache too. */
static void test_a_device_may_change_its_mind_about_doorbells(void **state)
{
    static const uint64_t features[] = {0, VIOMMU_MODEL_F_EVENT_IDX};

    (void)state;
    for (size_t i = 0; i < 2 * sizeof(features) / sizeof(features[0]); i++) {
        const struct viommu_model_counters *counters;
        struct viommu_fixture_options options;
        struct rings *rings;

        viommu_fixture_default_options(&options);
        options.model.offered_features |= features[i / 2];
        options.processing = VIOMMU_MODEL_AT_RUN;
        options.os.non_coherent_rings = i % 2 != 0;
        rings = start(&options, 4);
        counters = viommu_model_counters(rings->fixture->model);
        for (unsigned int round = 0; round < 10; round++) {
            uint64_t doorbells;

            viommu_model_set_notification(rings->fixture->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
            use_serially(rings, 2);
            doorbells = counters->doorbells[0];
            use_serially(rings, 10);
            assert_int_equal(counters->doorbells[0], doorbells);
            viommu_model_set_notification(rings->fixture->model, 0, VIOMMU_MODEL_NOTIFY_ALWAYS, 0);
            use_serially(rings, 2);
            doorbells = counters->doorbells[0];
            use_serially(rings, 10);
            assert_int_equal(counters->doorbells[0], doorbells + 10);
        }
        end(rings);
    }
}

static void test_an_interrupt_is_asked_for_at_the_next_request(void **state)
{
    struct rings *rings = start_with(VIOMMU_MODEL_F_EVENT_IDX, VIOMMU_MODEL_NEVER, 8);

    (void)state;
    assert_int_equal(device_get(rings->available, 2), 0);
    for (uint32_t i = 0; i < 70000; i++) {
        add_pieces(rings, 2);
        assert_false(piommu_virtqueue_want_interrupt(rings->queue));
        assert_int_equal(device_get(used_event_at(), 2), rings->used_index);
        complete(available_entry(rings->used_index), 0);
        assert_true(piommu_virtqueue_want_interrupt(rings->queue));
        rings->used_index--; /* taken below */
        complete_and_take(rings, 2);
    }
    end(rings);
}

static struct rings *start_polled(uint64_t features)
{
    const struct piommu_virtqueue_config config = {
        .max_size = 8, .max_pieces = MAX_PIECES, .polled = true};
    struct viommu_fixture_options options;
    struct rings *rings;

    viommu_fixture_default_options(&options);
    options.model.offered_features |= features;
    rings = prepare(&options);
    assert_int_equal(piommu_virtqueue_create(rings->device, &config, &rings->queue), 0);
    piommu_virtio_start(rings->device);
    return rings;
}

static void test_a_polled_ring_is_not_interrupted(void **state)
{
    (void)state;
    for (unsigned int event_index = 0; event_index < 2; event_index++) {
        struct rings *rings = start_polled(event_index != 0 ? VIOMMU_MODEL_F_EVENT_IDX : 0);
        const struct viommu_model_counters *counters = viommu_model_counters(rings->fixture->model);

        use_serially(rings, rounds_to_wrap());
        assert_int_equal(counters->interrupts, 0);
        assert_false(piommu_virtqueue_want_interrupt(rings->queue));
        use_serially(rings, 100);
        assert_int_equal(counters->interrupts, 0);
        assert_int_equal(counters->interrupts_spared, rounds_to_wrap() + 100);
        end(rings);
    }
}

static void test_a_ring_that_is_not_polled_is_interrupted(void **state)
{
    (void)state;
    for (unsigned int event_index = 0; event_index < 2; event_index++) {
        struct rings *rings =
            start_with(event_index != 0 ? VIOMMU_MODEL_F_EVENT_IDX : 0, VIOMMU_MODEL_AT_RUN, 8);
        const struct viommu_model_counters *counters = viommu_model_counters(rings->fixture->model);
        uint16_t head;
        uint32_t length;

        for (uint64_t i = 0; i < 300; i++) {
            (void)add(rings, 0);
            piommu_virtqueue_kick(rings->queue);
            assert_int_equal(take(rings, &head, &length), 0);
            assert_false(piommu_virtqueue_want_interrupt(rings->queue));
            assert_int_equal(counters->interrupts, i);
            (void)viommu_model_run(rings->fixture->model, 1);
            assert_int_equal(counters->interrupts, i + 1);
            assert_int_equal(piommu_virtio_interrupt_status(rings->device), 1);
            assert_int_equal(take(rings, &head, &length), 1);
        }
        end(rings);
    }
}

/* ---- Starting again ---- */

static void expect_fresh_ring(const struct rings *rings)
{
    if (!is_packed()) {
        assert_int_equal(available_index(), 0);
        assert_int_equal(device_get(rings->used + 2, 2), 0);
        return;
    }
    for (unsigned int i = 0; i < piommu_virtqueue_size(rings->queue); i++) {
        assert_int_equal(device_get(rings->descriptors + 16ull * i + 14, 2) & 0x8080, 0);
    }
}

static void test_a_ring_can_be_handed_to_the_device_again(void **state)
{
    static const uint64_t features[] = {0, VIOMMU_RING_FEATURES};

    (void)state;
    for (unsigned int i = 0; i < 2 * sizeof(features) / sizeof(features[0]); i++) {
        struct rings *rings = start_with(features[i / 2], VIOMMU_MODEL_AT_DOORBELL, 4);
        uint64_t held;
        uint16_t head;
        uint32_t length;

        use_serially(rings, 7);
        (void)add(rings, 0); /* forgotten */
        if (i % 2 != 0) {
            (void)add(rings, 1);
            viommu_model_misbehave(rings->fixture->model, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 1,
                                   UINT32_MAX);
            piommu_virtqueue_kick(rings->queue);
            expect_dead(rings);
            viommu_model_forget_violations(rings->fixture->model);
        }
        held = fake_os_bytes_outstanding(rings->fixture->os);
        fake_os_forbid(rings->fixture->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
        reset_and_negotiate(rings);
        assert_int_equal(piommu_virtqueue_restart(rings->queue), 0);
        fake_os_forbid(rings->fixture->os, 0);
        assert_int_equal(fake_os_bytes_outstanding(rings->fixture->os), held);
        expect_fresh_ring(rings);
        piommu_virtio_start(rings->device);
        assert_int_equal(take(rings, &head, &length), 0);
        use_serially(rings, 50);
        end(rings);
    }
}

static void test_a_ring_is_not_handed_to_another_device(void **state)
{
    struct rings *rings = start_with(VIOMMU_MODEL_F_INDIRECT_DESC, VIOMMU_MODEL_AT_DOORBELL, 8);
    uint64_t accepted;

    (void)state;
    assert_int_equal(piommu_virtio_reset(rings->device, SECOND), 0);
    assert_int_equal(piommu_virtio_negotiate(rings->device, VIOMMU_MODEL_F_MAP_UNMAP, 0, &accepted),
                     0);
    assert_int_equal(piommu_virtqueue_restart(rings->queue), -PIOMMU_EINVAL);
    reset_and_negotiate(rings);
    viommu_model_misbehave(rings->fixture->model, VIOMMU_MODEL_QUEUE_SIZE, 0, 4);
    assert_int_equal(piommu_virtqueue_restart(rings->queue), -PIOMMU_EBADMSG);
    viommu_model_behave(rings->fixture->model);
    viommu_model_misbehave(rings->fixture->model, VIOMMU_MODEL_QUEUE_COUNT, 0, 0);
    assert_int_equal(piommu_virtqueue_restart(rings->queue), -PIOMMU_EBADMSG);
    viommu_model_behave(rings->fixture->model);
    assert_int_equal(piommu_virtqueue_restart(rings->queue), 0);
    piommu_virtio_start(rings->device);
    use_serially(rings, 5);
    end(rings);
}

/*
 * The same by the model's own list, as a device would do it that works otherwise. It answers the
 * first of two requests: what lies behind the answer is looked at, too.
 */
static void expect_model_to_corrupt(enum viommu_model_misbehaviour what, uint64_t argument,
                                    unsigned int good)
{
    struct rings *rings = start_with(0, VIOMMU_MODEL_AT_RUN, 8);
    uint16_t head;
    uint32_t length;

    (void)add(rings, 0);
    (void)add(rings, 1);
    viommu_model_misbehave(rings->fixture->model, what, 1, argument);
    if (what != VIOMMU_MODEL_USED_LENGTH) { /* the length may not give it away */
        viommu_model_misbehave(rings->fixture->model, VIOMMU_MODEL_ANSWER_EMPTY, 1, 0);
    }
    piommu_virtqueue_kick(rings->queue);
    assert_int_equal(viommu_model_run(rings->fixture->model, 1), 1);
    for (unsigned int i = 0; i < good; i++) {
        assert_int_equal(take(rings, &head, &length), 1);
    }
    expect_dead(rings);
    viommu_model_behave(rings->fixture->model);
    viommu_model_forget_violations(rings->fixture->model);
    end(rings);
}

static void test_the_models_ways_to_corrupt_a_ring_are_noticed(void **state)
{
    (void)state;
    expect_model_to_corrupt(VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 0, 0);
    expect_model_to_corrupt(VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 0xffffffff, 0);
    expect_model_to_corrupt(VIOMMU_MODEL_USED_ID_NOT_IN_FLIGHT, 0, 0);
    expect_model_to_corrupt(VIOMMU_MODEL_USED_ID_MIDDLE, 0, 0);
    expect_model_to_corrupt(VIOMMU_MODEL_USED_ID_REPEATED, 0, 1);
    /* In a packed ring it is the next descriptor that tells. */
    expect_model_to_corrupt(VIOMMU_MODEL_USED_INDEX_JUMPS, 100, offered_kind != 0 ? 1 : 0);
    expect_model_to_corrupt(VIOMMU_MODEL_USED_LENGTH, 5, 0);
    expect_model_to_corrupt(VIOMMU_MODEL_USED_LENGTH, 0xffffffff, 0);
}

static void test_a_scribbling_device_does_not_confuse_the_driver(void **state)
{
    struct rings *rings = start(NULL, 4);
    uint16_t head;
    uint16_t taken;
    uint32_t length;

    (void)state;
    viommu_model_misbehave(rings->fixture->model, VIOMMU_MODEL_SCRIBBLE, 0, 0);
    for (uint32_t i = 0; i < 100; i++) {
        head = add(rings, 0);
        piommu_virtqueue_kick(rings->queue);
        assert_int_equal(take(rings, &taken, &length), 1);
        assert_int_equal(taken, head);
    }
    viommu_model_behave(rings->fixture->model);
    viommu_model_forget_violations(rings->fixture->model);
    end(rings);
}

/*
 * Random nonsense in everything that the device can write: no crash, no more answers than requests.
 */
static void test_random_nonsense_in_the_ring_does_no_harm(void **state)
{
    uint32_t random = 1;

    (void)state;
    for (unsigned int round = 0; round < 200; round++) {
        struct rings *rings = start_alone(8);
        unsigned int in_flight = 0;

        for (unsigned int step = 0; step < 60; step++) {
            uint16_t head;
            uint32_t length;
            int result;

            random = random * 1664525u + 1013904223u;
            switch (random >> 29) {
            case 0:
            case 1:
            case 2:
                if (try_add(rings, step & 31, &head) == 0) {
                    assert_true(head < 8);
                    in_flight++;
                }
                break;
            case 3:
                complete(random >> 8 & 7, random >> 4 & 7);
                break;
            case 4:
                if ((random & 0xf0) == 0) {
                    device_put(rings->used + 2, random >> 8 & 15, 2);
                }
                break;
            case 5:
                device_put(rings->descriptors + (random >> 8 & 127), random >> 4 & 0xff, 1);
                break;
            default:
                result = take(rings, &head, &length);
                assert_true(result == 0 || result == 1 || result == -PIOMMU_EIO);
                if (result == 1) {
                    assert_true(head < 8 && length <= 4);
                    assert_true(in_flight > 0);
                    in_flight--;
                }
                break;
            }
        }
        end(rings);
    }
}

static void test_the_caller_may_serve_two_queues(void **state)
{
    struct rings *rings = prepare(NULL);
    struct piommu_virtqueue *events = NULL;
    struct piommu_virtqueue *requests = NULL;
    struct piommu_virtio_buffer buffer = {
        .physical = rings->fixture->memory + 4096, .size = 24, .writable = true};
    uint16_t event_head;
    uint16_t head;
    uint32_t length;

    (void)state;
    assert_int_equal(create_queue(rings->device, 1, 16, &events), 0);
    assert_int_equal(create_queue(rings->device, 0, 16, &requests), 0);
    rings->queue = requests;
    piommu_virtio_start(rings->device);
    assert_int_equal(piommu_virtqueue_add(events, &buffer, 1, &event_head), 0);
    piommu_virtqueue_kick(events);
    assert_int_equal(viommu_model_counters(rings->fixture->model)->doorbells[1], 1);
    assert_int_equal(viommu_model_event_buffers(rings->fixture->model), 1);
    assert_int_equal(viommu_model_flood(rings->fixture->model, 5, 0x1000, 2), 1);
    assert_int_equal(piommu_virtqueue_take(requests, &head, &length), 0);
    assert_int_equal(piommu_virtqueue_take(events, &head, &length), 1);
    assert_int_equal(head, event_head);
    assert_int_equal(length, 24);
    assert_int_not_equal(piommu_virtio_interrupt_status(rings->device) & 1, 0);
    assert_int_equal(piommu_virtio_reset(rings->device, SECOND), 0);
    piommu_virtqueue_destroy(events);
    end(rings);
}

/* As piommu.h promises for all functions that return int. */
static void test_null_is_answered_with_an_error(void **state)
{
    struct rings *rings = start(NULL, 8);
    const struct piommu_virtio_field field = {0, 8};
    struct piommu_virtqueue *queue = NULL;
    uint64_t value = 0;
    uint8_t byte = 0;

    (void)state;
    assert_int_equal(create_queue(NULL, 0, 16, &queue), -PIOMMU_EINVAL);
    assert_int_equal(create_queue(rings->device, 1, 16, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_reset(NULL, SECOND), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_negotiate(NULL, 0, 0, &value), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_read_config(NULL, &field, 1, &value), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_write_config_byte(NULL, 36, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_read_config_byte(NULL, 36, &byte), -PIOMMU_EINVAL);
    end(rings);
}

#define WITH_ALL_RINGS(test)                                                            \
    cmocka_unit_test(test),                                                             \
    {                                                                                   \
        .name = #test " (packed)", .test_func = test, .setup_func = offer_packed_rings, \
        .teardown_func = offer_split_rings,                                             \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_refuses_wrong_sizes),
        WITH_ALL_RINGS(test_create_refuses_a_queue_that_the_device_lacks),
        WITH_ALL_RINGS(test_create_takes_the_smaller_size),
        cmocka_unit_test(test_create_refuses_impossible_queues),
        WITH_ALL_RINGS(test_create_survives_each_failure_of_the_host),
        cmocka_unit_test(test_ring_memory_is_asked_for_as_such),
        WITH_ALL_RINGS(test_rings_work_where_addresses_are_scattered),
        WITH_ALL_RINGS(test_requests_come_back_with_the_names_they_got),
        WITH_ALL_RINGS(test_requests_are_told_apart_in_any_order),
        WITH_ALL_RINGS(test_ring_indices_wrap),
        WITH_ALL_RINGS(test_a_full_ring_says_so_and_recovers),
        cmocka_unit_test(test_a_ring_holds_as_many_descriptors_as_it_has_entries),
        cmocka_unit_test(test_add_refuses_malformed_requests),
        cmocka_unit_test(test_descriptors_say_what_was_asked),
        cmocka_unit_test(test_barriers_order_request_index_and_doorbell),
        cmocka_unit_test(test_used_entries_are_read_behind_a_barrier),
        cmocka_unit_test(test_no_doorbell_rings_where_the_device_asked_for_silence),
        cmocka_unit_test(test_used_ids_out_of_range_are_refused),
        cmocka_unit_test(test_used_ids_that_head_nothing_in_flight_are_refused),
        cmocka_unit_test(test_a_request_comes_back_once),
        cmocka_unit_test(test_index_jumps_are_noticed),
        cmocka_unit_test(test_an_index_that_goes_back_is_noticed),
        cmocka_unit_test(test_an_index_without_anything_in_flight_is_noticed),
        cmocka_unit_test(test_impossible_lengths_are_refused),
        cmocka_unit_test(test_a_corrupted_ring_does_not_recover_by_itself),
        cmocka_unit_test(test_short_lengths_are_passed_on),
        cmocka_unit_test(test_lengths_of_huge_requests_do_not_wrap),
        cmocka_unit_test(test_the_driver_never_believes_its_own_descriptors),
        cmocka_unit_test(test_a_request_of_many_pieces_takes_one_entry),
        WITH_ALL_RINGS(test_the_device_works_through_tables),
        cmocka_unit_test(test_lies_about_tables_are_noticed),
        WITH_ALL_RINGS(test_capacity_is_what_fits),
        WITH_ALL_RINGS(test_pieces_are_as_many_as_was_said),
        cmocka_unit_test(test_doorbells_follow_the_devices_event_index),
        WITH_ALL_RINGS(test_serial_use_rings_for_each_request_and_for_nothing),
        WITH_ALL_RINGS(test_serial_use_leaves_a_device_in_peace_that_looks_by_itself),
        WITH_ALL_RINGS(test_a_device_may_change_its_mind_about_doorbells),
        cmocka_unit_test(test_an_interrupt_is_asked_for_at_the_next_request),
        WITH_ALL_RINGS(test_a_polled_ring_is_not_interrupted),
        WITH_ALL_RINGS(test_a_ring_that_is_not_polled_is_interrupted),
        WITH_ALL_RINGS(test_a_ring_can_be_handed_to_the_device_again),
        WITH_ALL_RINGS(test_a_ring_is_not_handed_to_another_device),
        WITH_ALL_RINGS(test_the_models_ways_to_corrupt_a_ring_are_noticed),
        WITH_ALL_RINGS(test_a_scribbling_device_does_not_confuse_the_driver),
        cmocka_unit_test(test_random_nonsense_in_the_ring_does_no_harm),
        WITH_ALL_RINGS(test_the_caller_may_serve_two_queues),
        cmocka_unit_test(test_null_is_answered_with_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
