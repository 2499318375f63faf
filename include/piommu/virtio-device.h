/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_VIRTIO_DEVICE_H
#define PIOMMU_VIRTIO_DEVICE_H

/**
 * @file virtio-device.h
 * The device's end of a ring, split or packed: for a hypervisor that offers a virtio device to its
 * guest. It knows nothing of IOMMUs or transports and can be used alone. The other end,
 * piommu/virtio.h, is the driver's.
 *
 * The driver is hostile: the ring lies in its memory, and it may change every byte of it at any
 * time. Each word of the ring is read once and then checked; what is read of a request is a copy.
 * Nothing that the driver does makes a call take longer than its comment says, or touch memory for
 * which `memory` has not been asked. A ring that makes no sense is *broken*: every further call
 * says so until it is started again, and the device should set DEVICE_NEEDS_RESET.
 *
 * Order of use: create; for each life of the ring start, then take, read and write, complete; stop.
 *
 * Concurrency: the caller serialises the calls on one ring. Calls on different rings run in
 * parallel.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, sections 2.6 to 2.8 (virtqueues, split
 * and packed).
 */

#include <piommu/error.h>
#include <piommu/os.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The guest's memory, by the addresses that it uses: guest physical, or what an IOMMU gives. */
struct piommu_guest_memory {
    /**
     * Copies out of it. Two aligned bytes are read as one. False: not all of it is memory that the
     * device may read; nothing is copied then.
     */
    bool (*read)(void *ctx, uint64_t address, void *buffer, size_t size);
    /** Copies into it; as read. Two aligned bytes are written as one. */
    bool (*write)(void *ctx, uint64_t address, const void *buffer, size_t size);
    void *ctx; /**< handed to both */
};

/** Where the driver has put a ring, and what was agreed on. */
struct piommu_device_ring_config {
    /** Entries, not above that of creation; those of a split ring are a power of two. */
    uint16_t size;
    uint64_t descriptors; /**< address of the descriptor table, or of the packed ring */
    uint64_t available;   /**< driver area: the available ring, or the driver's event suppression */
    uint64_t used;        /**< device area: the used ring, or the device's event suppression */
    bool indirect;        /**< INDIRECT_DESC was agreed on */
    bool event_idx;       /**< EVENT_IDX was agreed on */
    bool packed;          /**< RING_PACKED was agreed on */
};

struct piommu_device_ring;

/** A request that was taken. Its pieces are a copy: the driver cannot change them any more. */
struct piommu_device_request {
    uint16_t head;     /**< names it; below the ring's size */
    uint16_t pieces;   /**< private */
    uint32_t readable; /**< bytes that the device may read */
    uint32_t writable; /**< bytes that the device may write, behind those */
};

/**
 * Creates a ring that is not started.
 *
 * @param host       the shim; BASE callbacks. The barriers order accesses of the guest's CPUs.
 * @param memory     the guest's memory; copied.
 * @param max_size   the most entries, 1 to 32768.
 * @param max_pieces the most pieces of a request, 1 to 1024. A chain that has more breaks the ring.
 * @param ring       set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOMEM.
 *
 * Context: task.
 */
int piommu_device_ring_create(struct piommu_host host, const struct piommu_guest_memory *memory,
                              uint16_t max_size, uint16_t max_pieces,
                              struct piommu_device_ring **ring);

/** Frees a ring. NULL is ignored. Context: task. */
void piommu_device_ring_destroy(struct piommu_device_ring *ring);

/**
 * Starts a ring, from its beginning. What was taken and not completed is forgotten.
 *
 * @return 0; -PIOMMU_EINVAL: a size that is impossible, or an address that is not aligned as the
 *         specification asks for, or wraps around. Whether there is memory is seen when it is used.
 *
 * Context: any.
 */
int piommu_device_ring_start(struct piommu_device_ring *ring,
                             const struct piommu_device_ring_config *config);

/** Stops a ring: from here on it says that there is nothing. Context: any. */
void piommu_device_ring_stop(struct piommu_device_ring *ring);

/**
 * Takes the next request that the driver has made available. Work: at most max_pieces pieces.
 *
 * There is one taken request at a time: it is completed, or put aside by its copy of `request`,
 * before the next one is taken; its pieces can be read and written only until then.
 *
 * @return 1: one was taken; 0: there is none, and the driver was told that it has to notify;
 *         -PIOMMU_EIO: the ring is broken (an index that jumps, a chain that loops, is too long,
 *         lies outside of memory, or is indirect where it must not be; in a packed ring also a
 *         chain that is not available as a whole, or whose buffer ID is out already, or is not
 *         below the ring's size).
 *
 * Context: any.
 */
int piommu_device_ring_take(struct piommu_device_ring *ring, struct piommu_device_request *request);

/**
 * Copies from what the device may read of the request that was taken last.
 *
 * @param offset in bytes, over all of its readable pieces.
 * @return how many bytes were copied: less than `size` at the end of the pieces, or where they are
 *         not memory.
 *
 * Context: any.
 */
size_t piommu_device_ring_read(struct piommu_device_ring *ring, uint32_t offset, void *buffer,
                               size_t size);

/** Copies into what the device may write of it; as piommu_device_ring_read. Context: any. */
size_t piommu_device_ring_write(struct piommu_device_ring *ring, uint32_t offset,
                                const void *buffer, size_t size);

/**
 * Gives a request back to the driver. The order in which requests are given back is free.
 *
 * @param written bytes that were written, from the beginning of the writable pieces.
 * @return 0; -PIOMMU_EINVAL: it was not taken, or was completed already; -PIOMMU_EIO: the ring is
 *         broken.
 *
 * Context: any.
 */
int piommu_device_ring_complete(struct piommu_device_ring *ring, uint16_t head, uint32_t written);

/**
 * Whether the driver wants an interrupt for what was completed since the last call. To be called
 * once after a number of completions. Context: any.
 */
bool piommu_device_ring_wants_interrupt(struct piommu_device_ring *ring);

#ifdef __cplusplus
}
#endif

#endif
