/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The state of a front, as bytes. What is restored a driver could have brought about, too. */

#include "device_ring.h"
#include "front.h"

#define MAGIC   0x746e6f7266766970ull /* "pivfront" */
#define VERSION 1u

#define ISR_BITS (FRONT_ISR_QUEUE | FRONT_ISR_CONFIG)

/* What has to be the same where it is restored. */
static void describe(const struct piommu_virtio_front *front, struct blob *blob)
{
    blob_same(blob, MAGIC);
    blob_same(blob, VERSION);
    blob_same(blob, front->transport->kind);
    blob_same(blob, front->config.type);
    blob_same(blob, front->config.features);
    blob_same(blob, front->config.config_size);
    blob_same(blob, front->config.queue_count);
    for (unsigned int i = 0; i < front->config.queue_count; i++) {
        blob_same(blob, front->config.queues[i].max_size);
    }
}

static bool is_possible_status(const struct piommu_virtio_front *front)
{
    const unsigned int status = front->status;

    return (status & ~(FRONT_STATUS_OF_DRIVER | PIOMMU_VIRTIO_STATUS_NEEDS_RESET)) == 0 &&
           ((status & PIOMMU_VIRTIO_STATUS_DRIVER_OK) == 0 ||
            (status & PIOMMU_VIRTIO_STATUS_FEATURES_OK) != 0) &&
           ((status & PIOMMU_VIRTIO_STATUS_FEATURES_OK) == 0 || piommu_virtio_front_agrees_(front));
}

static void registers(struct piommu_virtio_front *front, struct blob *blob)
{
    blob_64(blob, &front->driver_features);
    blob_32(blob, &front->device_features_select);
    blob_32(blob, &front->driver_features_select);
    blob_32(blob, &front->queue_select);
    blob_32(blob, &front->generation);
    blob_byte(blob, &front->status);
    blob_byte(blob, &front->isr);
    blob_flag(blob, &front->change_untold);
    blob_check(blob, (front->isr & ~ISR_BITS) == 0);
    blob_check(blob, !blob_is_read(blob) || is_possible_status(front));
}

static void queue(struct piommu_virtio_front *front, unsigned int number, struct blob *blob)
{
    struct front_queue *queue = &front->queues[number];

    blob_16(blob, &queue->size);
    blob_flag(blob, &queue->enabled);
    for (unsigned int i = 0; i < 3; i++) {
        blob_64(blob, &queue->addresses[i]);
    }
    blob_check(blob, queue->size <= front->config.queues[number].max_size);
    if (blob_is_read(blob) && !blob->refused && queue->enabled &&
        piommu_virtio_front_is_running_(front)) {
        /* One that cannot be there would have ended the running. */
        blob_check(blob, piommu_virtio_front_start_ring_(front, queue));
    }
    if (queue->started) {
        piommu_device_ring_state_(queue->ring, blob);
    }
}

static void state(struct piommu_virtio_front *front, struct blob *blob)
{
    describe(front, blob);
    registers(front, blob);
    for (unsigned int i = 0; i < front->config.queue_count && !blob->refused; i++) {
        queue(front, i, blob);
    }
    if (front->transport->state != NULL && !blob->refused) {
        front->transport->state(front, blob);
    }
}

int piommu_virtio_front_save(struct piommu_virtio_front *front, void *buffer, size_t room,
                             size_t *size)
{
    struct blob blob = blob_for_writing(buffer, room);

    if (front == NULL || size == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (front->resetting) {
        return -PIOMMU_EAGAIN;
    }
    state(front, &blob);
    *size = blob.at;
    return blob.at <= blob.size ? 0 : -PIOMMU_ENOSPC;
}

int piommu_virtio_front_restore(struct piommu_virtio_front *front, const void *buffer, size_t size)
{
    struct blob blob = blob_for_reading(buffer, size);

    if (front == NULL || buffer == NULL) {
        return -PIOMMU_EINVAL;
    }
    piommu_virtio_front_system_reset(front);
    state(front, &blob);
    if (!blob_is_right(&blob)) {
        piommu_virtio_front_system_reset(front);
        return -PIOMMU_EINVAL;
    }
    piommu_virtio_front_update_line_(front);
    /* What the driver has rung for may not have been looked at. */
    for (unsigned int i = 0; i < front->config.queue_count; i++) {
        piommu_virtio_front_notify_(front, i);
    }
    return 0;
}
