/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "virtio_life.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#define TIMEOUT 1000000ull

static int agree(struct piommu_virtio_device *device)
{
    static const struct piommu_virtio_field fields[] = {{0, 8}, {32, 4}};
    uint64_t values[2];
    uint64_t accepted;
    int error = piommu_virtio_reset(device, TIMEOUT);

    if (error == 0) {
        error = piommu_virtio_negotiate(device, VIOMMU_MODEL_F_MAP_UNMAP | VIOMMU_MODEL_F_PROBE, 0,
                                        &accepted);
    }
    if (error == 0) {
        error = piommu_virtio_read_config(device, fields, 2, values);
    }
    return error;
}

static void make_request(struct viommu_fixture *fixture, struct piommu_virtio_device *device,
                         struct piommu_virtqueue *queue)
{
    const struct piommu_virtio_buffer buffers[] = {
        {.physical = fixture->memory, .size = 20},
        {.physical = fixture->memory + 64, .size = 4, .writable = true},
    };
    uint16_t head;
    uint32_t length;

    piommu_virtio_start(device);
    assert_int_equal(piommu_virtqueue_add(queue, buffers, 2, &head), 0);
    piommu_virtqueue_kick(queue);
    (void)piommu_virtqueue_take(queue, &head, &length);
    (void)piommu_virtio_interrupt_status(device);
}

int virtio_live(struct viommu_fixture *fixture, struct piommu_virtio_device *device)
{
    struct piommu_virtqueue *queues[2] = {NULL, NULL};
    int error = agree(device);

    for (uint16_t i = 0; error == 0 && i < 2; i++) {
        const struct piommu_virtqueue_config config = {.index = i, .max_size = 16, .max_pieces = 2};

        error = piommu_virtqueue_create(device, &config, &queues[i]);
    }
    if (error == 0) {
        make_request(fixture, device, queues[0]);
    }
    viommu_model_behave(fixture->model);
    (void)piommu_virtio_reset(device, TIMEOUT);
    fixture->forgive_free = true; /* if its registers are elsewhere, it cannot be reset */
    piommu_virtqueue_destroy(queues[1]);
    piommu_virtqueue_destroy(queues[0]);
    piommu_virtio_close(device);
    assert_int_equal(fake_os_bytes_outstanding(fixture->os), 0);
    return error;
}
