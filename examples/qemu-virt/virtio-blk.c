/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Numbers: OASIS Virtual I/O Device (VIRTIO) Version 1.2, section 5.2 (block device). Fields are
 * little-endian, as this machine is.
 */

#include "virtio-blk.h"

#include <piommu/error.h>

#define BLK_F_FLUSH (1ull << 9)

#define BLK_CONFIG_CAPACITY 0u

#define BLK_T_IN    0u
#define BLK_T_OUT   1u
#define BLK_T_FLUSH 4u

#define BLK_S_OK      0u
#define BLK_S_NOTHING 0xffu /* none of the device's: it has not written the status */

#define BLK_QUEUE      0u
#define BLK_QUEUE_SIZE 64u

/* The device is another program's thread, which may have to wait for a CPU. */
#define BLK_TIMEOUT  20000000000ull
#define BLK_INTERVAL 50000ull /* of polling: the device's work is not disturbed all the time */

struct blk_header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
    uint8_t status; /* the device's answer; behind the part that it reads */
    uint8_t unused[15];
};

#define BLK_HEADER_READ 16u /* bytes of it that the device reads */

static uint64_t now(const struct blk *blk)
{
    return blk->host.os->now(blk->host.ctx);
}

/* ---- Memory ---- */

static int make_headers(struct blk *blk)
{
    const struct piommu_dma_request request = {.size = BLK_SLOTS * sizeof(struct blk_header),
                                               .alignment = sizeof(struct blk_header),
                                               .max_physical = UINT64_MAX,
                                               .purpose = PIOMMU_DMA_RING};
    uint64_t address;

    blk->headers = blk->host.os->dma_alloc(blk->host.ctx, &request, &address);
    if (blk->headers == NULL) {
        return -PIOMMU_ENOMEM;
    }
    for (unsigned int i = 0; i < BLK_SLOTS; i++) {
        blk->slots[i] = (struct blk_slot){.header = &blk->headers[i],
                                          .header_address = address + i * sizeof(*blk->headers)};
    }
    return 0;
}

static void release(struct blk *blk)
{
    piommu_virtqueue_destroy(blk->queue);
    if (blk->headers != NULL) {
        blk->host.os->dma_free(blk->host.ctx, blk->headers, BLK_SLOTS * sizeof(*blk->headers));
    }
    piommu_virtio_close(blk->device);
}

/* ---- Start and stop ---- */

/* From the reset to the features and what follows from them; the queue comes after it. */
static int negotiate(struct blk *blk)
{
    const struct piommu_virtio_field capacity = {.offset = BLK_CONFIG_CAPACITY, .width = 8};
    int error = piommu_virtio_reset(blk->device, BLK_TIMEOUT);

    if (error == 0) {
        error = piommu_virtio_negotiate(blk->device, PIOMMU_VIRTIO_F_GENERIC | BLK_F_FLUSH, 0,
                                        &blk->features);
    }
    if (error == 0) {
        error = piommu_virtio_read_config(blk->device, &capacity, 1, &blk->sectors);
    }
    return error;
}

static int start(struct blk *blk)
{
    const struct piommu_virtqueue_config config = {.index = BLK_QUEUE,
                                                   .max_size = BLK_QUEUE_SIZE,
                                                   .max_pieces = BLK_MAX_PIECES + 2,
                                                   .polled = blk->interrupt.wait == NULL};
    int error = negotiate(blk);

    if (error == 0) {
        error = piommu_virtqueue_create(blk->device, &config, &blk->queue);
    }
    if (error == 0) {
        error = make_headers(blk);
    }
    if (error == 0) {
        piommu_virtio_start(blk->device);
    }
    return error;
}

int blk_start(struct blk *blk, struct piommu_host host, struct piommu_virtio_device *device,
              const struct blk_interrupt *interrupt)
{
    int error;

    *blk = (struct blk){.host = host, .device = device, .interrupt = *interrupt};
    error = start(blk);
    if (error != 0) {
        piommu_virtio_reset(device, BLK_TIMEOUT);
        release(blk);
    }
    return error;
}

int blk_stop(struct blk *blk)
{
    int error = piommu_virtio_reset(blk->device, BLK_TIMEOUT);

    if (error == 0) {
        release(blk);
    }
    return error;
}

int blk_restart(struct blk *blk)
{
    int error = negotiate(blk);

    if (error == 0) {
        error = piommu_virtqueue_restart(blk->queue);
    }
    if (error == 0) {
        for (unsigned int i = 0; i < BLK_SLOTS; i++) {
            blk->slots[i].in_flight = false;
        }
        blk->in_flight = 0;
        piommu_virtio_start(blk->device);
    }
    return error;
}

/* ---- Requests ---- */

static struct blk_slot *free_slot(struct blk *blk)
{
    for (unsigned int i = 0; i < BLK_SLOTS; i++) {
        if (!blk->slots[i].in_flight) {
            return &blk->slots[i];
        }
    }
    return NULL;
}

int blk_submit(struct blk *blk, enum blk_operation operation, uint64_t sector,
               const struct piommu_virtio_buffer *pieces, unsigned int count)
{
    static const uint32_t types[] = {
        [BLK_READ] = BLK_T_IN, [BLK_WRITE] = BLK_T_OUT, [BLK_FLUSH] = BLK_T_FLUSH};
    struct piommu_virtio_buffer buffers[BLK_MAX_PIECES + 2];
    struct blk_slot *slot = free_slot(blk);
    int error;

    if (count > BLK_MAX_PIECES) {
        return -PIOMMU_EINVAL;
    }
    if (slot == NULL) {
        return -PIOMMU_ENOSPC;
    }
    if (operation == BLK_FLUSH && (blk->features & BLK_F_FLUSH) == 0) {
        return 0; /* then the device has no cache that could be lost */
    }
    *slot->header =
        (struct blk_header){.type = types[operation], .sector = sector, .status = BLK_S_NOTHING};
    buffers[0] =
        (struct piommu_virtio_buffer){.physical = slot->header_address, .size = BLK_HEADER_READ};
    for (unsigned int i = 0; i < count; i++) {
        buffers[1 + i] = pieces[i];
        buffers[1 + i].writable = operation == BLK_READ;
    }
    buffers[1 + count] = (struct piommu_virtio_buffer){
        .physical = slot->header_address + BLK_HEADER_READ, .size = 1, .writable = true};
    piommu_virtio_to_device(blk->device, slot->header, sizeof(*slot->header));
    error = piommu_virtqueue_add(blk->queue, buffers, (uint16_t)(count + 2), &slot->head);
    if (error == 0) {
        slot->in_flight = true;
        blk->in_flight++;
    }
    return error;
}

/* Takes the request with this head back. */
static int complete(struct blk *blk, uint16_t head)
{
    for (unsigned int i = 0; i < BLK_SLOTS; i++) {
        struct blk_slot *slot = &blk->slots[i];

        if (slot->in_flight && slot->head == head) {
            slot->in_flight = false;
            blk->in_flight--;
            piommu_virtio_from_device(blk->device, slot->header, sizeof(*slot->header));
            return slot->header->status == BLK_S_OK ? 0 : -PIOMMU_EBADMSG;
        }
    }
    return -PIOMMU_EIO;
}

/* Takes back all that is done. The first error of a request stays in *result. */
static int take_all(struct blk *blk, int *result)
{
    uint16_t head;
    uint32_t length;
    int taken;

    do {
        while ((taken = piommu_virtqueue_take(blk->queue, &head, &length)) == 1) {
            int error = complete(blk, head);

            if (*result == 0) {
                *result = error;
            }
        }
    } while (taken == 0 && piommu_virtqueue_want_interrupt(blk->queue));
    return taken;
}

/* Waits until the device may have something to say. */
static int wait(struct blk *blk, uint64_t deadline)
{
    if (blk->interrupt.wait == NULL) {
        uint64_t begin = now(blk);

        while (now(blk) - begin < BLK_INTERVAL) {
        }
        return begin < deadline ? 0 : -PIOMMU_ETIMEDOUT;
    }
    if (!blk->interrupt.wait(blk->interrupt.context, deadline)) {
        return -PIOMMU_ETIMEDOUT;
    }
    piommu_virtio_interrupt_status(blk->device);
    blk->interrupt.done(blk->interrupt.context);
    blk->interrupts++;
    return 0;
}

int blk_finish(struct blk *blk)
{
    uint64_t deadline = now(blk) + BLK_TIMEOUT;
    int result = 0;
    int error = 0;

    piommu_virtqueue_kick(blk->queue);
    /* With interrupts the ring is looked at only after one: if one is missing, it is noticed. */
    while (blk->in_flight != 0 && error == 0) {
        error = wait(blk, deadline);
        if (error == 0) {
            error = take_all(blk, &result);
        }
        if (error == 0 && blk->in_flight != 0 &&
            (piommu_virtio_status(blk->device) & PIOMMU_VIRTIO_STATUS_NEEDS_RESET) != 0) {
            error = -PIOMMU_EIO;
        }
    }
    return error != 0 ? error : result;
}
