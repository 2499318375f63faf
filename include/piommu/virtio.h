/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_VIRTIO_H
#define PIOMMU_VIRTIO_H

/**
 * @file virtio.h
 * The driver's side of virtio: a device behind a transport, and split rings. It
 * knows nothing of IOMMUs and can be used alone. The device is not trusted with memory safety:
 * whatever it writes is read once and checked.
 *
 * Order of use: open, reset, negotiate, read the configuration, create queues, start; then add,
 * kick, take. To end: reset, destroy queues, close.
 *
 * Concurrency: the caller serialises all calls on one device, except that calls on different queues
 * may run in parallel once the device was started.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, sections 2.1 to 2.7 (device, split
 * virtqueues), 3.1 (device initialization), 4.1 (virtio over PCI bus).
 */

#include <piommu/os.h>

#ifdef __cplusplus
extern "C" {
#endif

/** VIRTIO_F_VERSION_1: required of every device. */
#define PIOMMU_VIRTIO_F_VERSION_1 (1ull << 32)

/** Bits of the device status. */
#define PIOMMU_VIRTIO_STATUS_ACKNOWLEDGE 0x01u
#define PIOMMU_VIRTIO_STATUS_DRIVER      0x02u
#define PIOMMU_VIRTIO_STATUS_DRIVER_OK   0x04u
#define PIOMMU_VIRTIO_STATUS_FEATURES_OK 0x08u
#define PIOMMU_VIRTIO_STATUS_NEEDS_RESET 0x40u
#define PIOMMU_VIRTIO_STATUS_FAILED      0x80u

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

/**
 * Opens a device behind virtio-pci (the modern interface), whose BARs the host has assigned.
 * Switches memory decoding and bus mastering on. Does not touch the device's state.
 *
 * @param host     the shim; BASE, LOCK (only its clock is used), MMIO and PCI callbacks.
 * @param function where it is.
 * @param type     the virtio device type, e.g. 23 for an IOMMU.
 * @param device   set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENODEV: no such device there; -PIOMMU_EBADMSG: its
 *         capabilities make no sense; -PIOMMU_ENOMEM; or an error of piommu_os::mmio_map or
 *         pci_bar.
 *
 * Context: task.
 */
int piommu_virtio_pci_open(struct piommu_host host, struct piommu_pci_function function,
                           uint32_t type, struct piommu_virtio_device **device);

/** Closes a device whose queues have been destroyed. NULL is ignored. Context: task. */
void piommu_virtio_close(struct piommu_virtio_device *device);

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
 * Acknowledges the device and agrees on features.
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

/** Reads and acknowledges the interrupt status (so that a level interrupt ends). Context: any. */
uint8_t piommu_virtio_interrupt_status(struct piommu_virtio_device *device);

/**
 * Makes a split ring and hands it to the device. To be called between negotiate and start.
 *
 * @param index    the queue's number.
 * @param max_size the most entries wanted: a power of two, 2 to 32768; the device may have fewer.
 * @param owner    cookie for piommu_os::dma_alloc.
 * @param queue    set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: the device has no such queue, or an impossible one;
 *         -PIOMMU_ENOMEM.
 *
 * Context: task.
 */
int piommu_virtqueue_create(struct piommu_virtio_device *device, uint16_t index, uint16_t max_size,
                            void *owner, struct piommu_virtqueue **queue);

/** Frees a ring. The device must have been reset. NULL is ignored. Context: task. */
void piommu_virtqueue_destroy(struct piommu_virtqueue *queue);

/** How many entries the ring has. */
uint16_t piommu_virtqueue_size(const struct piommu_virtqueue *queue);

/**
 * Puts one request into the ring. The device may see it at once, and is told by kick.
 *
 * @param buffers its pieces, the device-readable ones first.
 * @param count   how many: 1 or more.
 * @param head    set on success: names the request until it is taken back; below the ring's size.
 * @return 0; -PIOMMU_EINVAL (order, sizes, count); -PIOMMU_ENOSPC: the ring is full; -PIOMMU_EIO:
 *         the device has corrupted it, see take.
 *
 * Context: any.
 */
int piommu_virtqueue_add(struct piommu_virtqueue *queue, const struct piommu_virtio_buffer *buffers,
                         uint16_t count, uint16_t *head);

/**
 * Rings the doorbell, unless the device has asked not to. Runs beside add and take. Context: any.
 */
void piommu_virtqueue_kick(struct piommu_virtqueue *queue);

/**
 * Takes back one request that the device is done with.
 *
 * @param head   set when one was taken: as add gave it.
 * @param length set too: how many bytes the device says it has written; not above what was
 *               writable.
 * @return 1: one was taken; 0: none is done; -PIOMMU_EIO: the device has corrupted the ring (an
 *         index jumped, a request came back that is not in flight, a length is impossible). The
 *         queue is unusable then, and the device must be reset.
 *
 * Context: any.
 */
int piommu_virtqueue_take(struct piommu_virtqueue *queue, uint16_t *head, uint32_t *length);

#ifdef __cplusplus
}
#endif

#endif
