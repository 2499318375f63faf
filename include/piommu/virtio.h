/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_VIRTIO_H
#define PIOMMU_VIRTIO_H

/**
 * @file virtio.h
 * The driver's side of virtio: a device behind a transport, and its rings, split or packed. It
 * knows nothing of IOMMUs and can be used alone. The device is not trusted with memory safety:
 * whatever it writes is read once and checked.
 *
 * Order of use: open, reset, negotiate, read the configuration, create queues, start; then add,
 * kick, take. To end: reset, destroy queues, close.
 *
 * Concurrency: the caller serialises all calls on one device, except that calls on different queues
 * may run in parallel once the device was started, and piommu_virtqueue_ring beside anything.
 *
 * Barriers are those of the shim, which order accesses of real hardware: VIRTIO_F_ORDER_PLATFORM
 * changes nothing. Addresses that the device is given are those that piommu_os::dma_alloc returns,
 * and those of the caller: with VIRTIO_F_ACCESS_PLATFORM they are what the device's own IOMMU
 * translates, if it is behind one.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, sections 2.1 to 2.8 (device, split
 * and packed virtqueues), 3.1 (device initialization), 4.1 (virtio over PCI bus), 4.2 (virtio over
 * MMIO).
 */

#include <piommu/os.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Tables of descriptors: a request takes one entry of the ring, however many pieces it has. */
#define PIOMMU_VIRTIO_F_INDIRECT_DESC (1ull << 28)
/** Each side says up to where it need not be notified. */
#define PIOMMU_VIRTIO_F_EVENT_IDX (1ull << 29)
/** Required of every device. */
#define PIOMMU_VIRTIO_F_VERSION_1 (1ull << 32)
/** The device's accesses go through the platform's IOMMU, as those of other devices do. */
#define PIOMMU_VIRTIO_F_ACCESS_PLATFORM (1ull << 33)
/**
 * Packed rings: one ring of descriptors that both sides write, where a split ring has three parts.
 * The calls are the same. A caller that wants split rings all the same leaves it out of what it
 * wants. It is never agreed on with a device that does not snoop the CPU's caches, as what either
 * side writes lies in the same cache lines; nor by a library that was built without packed rings.
 */
#define PIOMMU_VIRTIO_F_RING_PACKED (1ull << 34)
/** The device needs barriers that order accesses of real hardware. */
#define PIOMMU_VIRTIO_F_ORDER_PLATFORM (1ull << 36)
/** Those of these that a driver may accept without more ado. */
#define PIOMMU_VIRTIO_F_GENERIC                                                              \
    (PIOMMU_VIRTIO_F_INDIRECT_DESC | PIOMMU_VIRTIO_F_EVENT_IDX | PIOMMU_VIRTIO_F_VERSION_1 | \
     PIOMMU_VIRTIO_F_ACCESS_PLATFORM | PIOMMU_VIRTIO_F_RING_PACKED |                         \
     PIOMMU_VIRTIO_F_ORDER_PLATFORM)

/* Bits of the device status. */
#define PIOMMU_VIRTIO_STATUS_ACKNOWLEDGE 0x01u /**< the driver has seen the device */
#define PIOMMU_VIRTIO_STATUS_DRIVER      0x02u /**< the driver knows how to drive it */
#define PIOMMU_VIRTIO_STATUS_DRIVER_OK   0x04u /**< the driver is ready */
#define PIOMMU_VIRTIO_STATUS_FEATURES_OK 0x08u /**< both have agreed on features */
#define PIOMMU_VIRTIO_STATUS_NEEDS_RESET 0x40u /**< the device is broken until it is reset */
#define PIOMMU_VIRTIO_STATUS_FAILED      0x80u /**< the driver has given up */

struct piommu_virtio_device;
struct piommu_virtqueue;

/** The most fields that can be read together. */
#define PIOMMU_VIRTIO_MAX_FIELDS 8u

/** A field of the device's configuration. */
struct piommu_virtio_field {
    uint32_t offset; /**< bytes from the start */
    uint32_t width;  /**< 1, 2, 4 or 8 bytes */
};

/** A piece of memory that a request gives to the device. */
struct piommu_virtio_buffer {
    uint64_t physical; /**< where */
    uint32_t size;     /**< bytes, not 0 */
    bool writable;     /**< for the device to write; such pieces come last */
};

/** The most interrupt messages that a device is given. */
#define PIOMMU_VIRTIO_MAX_MESSAGES 2u

/** An interrupt message (MSI-X): what the device writes, and where. */
struct piommu_virtio_message {
    uint64_t address; /**< as the device is to use it */
    uint32_t data;    /**< what it writes */
};

/** Where a device behind virtio-pci is. Zero selects the default of each member marked so. */
struct piommu_virtio_pci_config {
    struct piommu_pci_function function; /**< where it is */
    uint32_t type;                       /**< the virtio device type, e.g. 23 for an IOMMU */
    /**
     * Messages to interrupt with. One: for everything; two: the first for changes of the
     * configuration, the second for all queues. Copied. A device without MSI-X, or with one vector
     * where two are wanted, makes do with what it has: piommu_virtio_messages_used. Default: none,
     * the device has its interrupt line (INTx).
     */
    const struct piommu_virtio_message *messages;
    unsigned int message_count; /**< how many: 0 to PIOMMU_VIRTIO_MAX_MESSAGES */
    /**
     * The device does not snoop the CPU's caches, and the memory of its rings is cached all the
     * same: it is cleaned and invalidated by the shim (callbacks CLEAN and INVALIDATE). Default:
     * memory for rings is coherent.
     */
    bool non_coherent;
};

/** Where a device behind virtio-mmio is. Zero selects the default of each member marked so. */
struct piommu_virtio_mmio_config {
    uint64_t registers; /**< physical address of its registers */
    uint64_t size;      /**< bytes of registers: above 0x100, at most 64 KiB are used */
    uint32_t type;      /**< the virtio device type */
    bool non_coherent;  /**< as piommu_virtio_pci_config::non_coherent. Default: coherent */
};

/**
 * Opens a device behind virtio-pci (the modern interface), whose BARs the host has assigned.
 * Switches memory decoding and bus mastering on. Does not touch the device's state.
 *
 * @param host   the shim; BASE, LOCK (only its clock is used), MMIO and PCI callbacks.
 * @param config where it is; copied.
 * @param device set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EOPNOTSUPP: the library was built without virtio-pci;
 *         -PIOMMU_ENODEV: no such device there; -PIOMMU_EBADMSG: its capabilities make no sense;
 *         -PIOMMU_ENOMEM; or an error of piommu_os::mmio_map or pci_bar.
 *
 * Context: task.
 */
int piommu_virtio_pci_open(struct piommu_host host, const struct piommu_virtio_pci_config *config,
                           struct piommu_virtio_device **device);

/**
 * Opens a device behind virtio-mmio, version 2. Does not touch the device's state.
 *
 * @param host   the shim; BASE, LOCK (only its clock is used) and MMIO callbacks.
 * @param config where it is; copied.
 * @param device set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENODEV: no such device there (no virtio, an empty slot,
 *         another type); -PIOMMU_EOPNOTSUPP: it has the legacy interface, or the library was built
 *         without virtio-mmio; -PIOMMU_ENOMEM; or an error of piommu_os::mmio_map.
 *
 * Context: task.
 */
int piommu_virtio_mmio_open(struct piommu_host host, const struct piommu_virtio_mmio_config *config,
                            struct piommu_virtio_device **device);

/**
 * With how many of the messages the device interrupts; 0: it has its interrupt line. Context: any.
 */
unsigned int piommu_virtio_messages_used(const struct piommu_virtio_device *device);

/**
 * Makes what the CPU has written visible to a device that does not snoop, and does nothing for
 * others. To be called before piommu_virtqueue_add for pieces that the device reads, and for those
 * that it writes if the CPU has written there.
 *
 * Context: any.
 */
void piommu_virtio_to_device(const struct piommu_virtio_device *device, const void *memory,
                             size_t size);

/** The same in the other direction: before what the device has written is read. Context: any. */
void piommu_virtio_from_device(const struct piommu_virtio_device *device, const void *memory,
                               size_t size);

/** Closes a device whose queues have been destroyed. NULL is ignored. Context: task. */
void piommu_virtio_close(struct piommu_virtio_device *device);

/**
 * Makes a device usable again that may have lost its power since it was opened; to be called before
 * its reset. Looks whether it is still the same; behind virtio-pci switches memory decoding and bus
 * mastering on and sets the interrupt messages up again (its BARs are as the host has them).
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENODEV: there is no such device any more. Context: task.
 */
int piommu_virtio_wake(struct piommu_virtio_device *device);

/**
 * Resets the device and waits until it says so. After success it uses none of its queues' memory
 * any more.
 *
 * @param timeout nanoseconds.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ETIMEDOUT.
 *
 * Context: any; waits.
 */
int piommu_virtio_reset(struct piommu_virtio_device *device, uint64_t timeout);

/**
 * Acknowledges the device and agrees on features. RING_PACKED is never agreed on with a device that
 * does not snoop, nor by a library that was built without packed rings.
 *
 * @param wanted   features that the caller implements.
 * @param required those among them that it cannot do without; VERSION_1 always is.
 * @param accepted set on success to the features in force.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EOPNOTSUPP: a required feature is not offered, or the device
 *         wants one that the caller does not implement (it refused FEATURES_OK). The device is told
 *         that the driver has failed.
 *
 * Context: task.
 */
int piommu_virtio_negotiate(struct piommu_virtio_device *device, uint64_t wanted, uint64_t required,
                            uint64_t *accepted);

/**
 * Reads fields of the configuration, all from one generation of it.
 *
 * @param fields which.
 * @param count  how many, at most PIOMMU_VIRTIO_MAX_FIELDS.
 * @param values set on success, in the order of the fields.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: a field lies outside the configuration, or it never
 *         stops changing.
 *
 * Context: any.
 */
int piommu_virtio_read_config(struct piommu_virtio_device *device,
                              const struct piommu_virtio_field *fields, size_t count,
                              uint64_t *values);

/**
 * Reads a one-byte field of the configuration, which no generation is needed for.
 *
 * @param value set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: it lies outside the configuration. Context: any.
 */
int piommu_virtio_read_config_byte(struct piommu_virtio_device *device, uint32_t offset,
                                   uint8_t *value);

/**
 * Writes a one-byte field of the configuration.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: it lies outside the configuration. Context: any.
 */
int piommu_virtio_write_config_byte(struct piommu_virtio_device *device, uint32_t offset,
                                    uint8_t value);

/** Tells the device that its driver is ready. Context: task. */
void piommu_virtio_start(struct piommu_virtio_device *device);

/** Reads the device status; 0xff usually means that the device is gone. Context: any. */
uint8_t piommu_virtio_status(struct piommu_virtio_device *device);

/**
 * Reads and acknowledges the interrupt status, so that an interrupt line is released; with messages
 * there is none, and it is 0: then everything may have happened. Bit 0: a queue; bit 1: the
 * configuration. To be called before the queues are looked at. Context: any.
 */
uint8_t piommu_virtio_interrupt_status(struct piommu_virtio_device *device);

/** What a ring is to be. Zero selects the default of each member marked so. */
struct piommu_virtqueue_config {
    uint16_t index; /**< the queue's number */
    /**
     * The most entries wanted, 2 to 32768; the device may have fewer. With RING_PACKED any number;
     * else a power of two, which is what a caller gives that does not care.
     */
    uint16_t max_size;
    /**
     * The most pieces of a request, 1 to 1024. If it is above 1 and INDIRECT_DESC was agreed on,
     * the ring has a table for each entry, and each request takes one entry. Default (0): 1.
     */
    uint16_t max_pieces;
    /** The device need not interrupt when it is done with a request. Default: it does. */
    bool polled;
    void *owner; /**< cookie for piommu_os::dma_alloc */
};

/**
 * Makes a ring and hands it to the device: a packed one if RING_PACKED was agreed on, else a split
 * one. To be called between negotiate and start.
 *
 * @param config what it is to be.
 * @param queue  set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: the device has no such queue, or an impossible one,
 *         or refuses an interrupt message that it said it had; -PIOMMU_ENOMEM.
 *
 * Context: task.
 */
int piommu_virtqueue_create(struct piommu_virtio_device *device,
                            const struct piommu_virtqueue_config *config,
                            struct piommu_virtqueue **queue);

/**
 * Hands an empty ring to the device again, after that was reset and agreed on the same features.
 * What was in flight is forgotten.
 *
 * @return 0; -PIOMMU_EINVAL: the features are not the same; -PIOMMU_EBADMSG: the device does not
 *         have such a queue any more, or refuses an interrupt message. Context: task.
 */
int piommu_virtqueue_restart(struct piommu_virtqueue *queue);

/** Frees a ring. The device must have been reset. NULL is ignored. Context: task. */
void piommu_virtqueue_destroy(struct piommu_virtqueue *queue);

/** How many entries the ring has. */
uint16_t piommu_virtqueue_size(const struct piommu_virtqueue *queue);

/** How many requests of so many pieces (not 0) fit into the ring at once; 0: too many pieces. */
uint16_t piommu_virtqueue_capacity(const struct piommu_virtqueue *queue, uint16_t pieces);

/**
 * Puts one request into the ring. The device sees it after the next publish or kick.
 *
 * @param buffers its pieces, the device-readable ones first.
 * @param count   how many: 1 or more, not above max_pieces of the ring's config.
 * @param head    set on success: names the request until it is taken back; below the ring's size.
 * @return 0; -PIOMMU_EINVAL (order, sizes, count); -PIOMMU_ENOSPC: the ring is full; -PIOMMU_EIO:
 *         the device has corrupted it, see take.
 *
 * Context: any.
 */
int piommu_virtqueue_add(struct piommu_virtqueue *queue, const struct piommu_virtio_buffer *buffers,
                         uint16_t count, uint16_t *head);

/**
 * Shows the device what was added, and tells whether it wants its doorbell rung: for callers that
 * ring without the lock under which they add.
 *
 * Context: any.
 */
bool piommu_virtqueue_publish(struct piommu_virtqueue *queue);

/** Rings the doorbell. Runs beside anything. Context: any. */
void piommu_virtqueue_ring(struct piommu_virtqueue *queue);

/** Publishes, and rings the doorbell if the device wants that. Context: any. */
static inline void piommu_virtqueue_kick(struct piommu_virtqueue *queue)
{
    if (piommu_virtqueue_publish(queue)) {
        piommu_virtqueue_ring(queue);
    }
}

/**
 * Asks for an interrupt at the next request that the device is done with; of no effect on a polled
 * ring. To be called when take has found nothing: until then the device may, from the last call
 * on, interrupt only once.
 *
 * @return true: the device is done with one already, and the interrupt may not come: take again.
 *
 * Context: any.
 */
bool piommu_virtqueue_want_interrupt(struct piommu_virtqueue *queue);

/**
 * Takes back one request that the device is done with.
 *
 * @param head   set when one was taken: as add gave it.
 * @param length set too: how many bytes the device says it has written; not above what was
 *               writable.
 * @return 1: one was taken; 0: none is done; -PIOMMU_EIO: the device has corrupted the ring (an
 *         index jumped, a request came back that is not in flight, a length is impossible, a
 *         descriptor is in a state that it cannot be in). The queue is unusable then, and the
 *         device must be reset.
 *
 * Context: any.
 */
int piommu_virtqueue_take(struct piommu_virtqueue *queue, uint16_t *head, uint32_t *length);

#ifdef __cplusplus
}
#endif

#endif
