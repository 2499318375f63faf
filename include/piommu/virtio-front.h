/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_VIRTIO_FRONT_H
#define PIOMMU_VIRTIO_FRONT_H

/**
 * @file virtio-front.h
 * The front of a virtio device that a hypervisor offers to its guest: its registers, behind
 * virtio-mmio (version 2) or virtio-pci (the modern interface), and its interrupts. The hypervisor
 * traps the guest's accesses and forwards them; the device behind the front is told what they mean,
 * and works on rings (piommu/virtio-device.h) that the front makes, starts and stops. It knows
 * nothing of IOMMUs and can be used alone.
 *
 * The guest is hostile: any access, of any offset and width, with any value and at any time, is
 * answered within a bounded number of steps (the longest is to start all rings, which clears
 * max_size half-words for each) and touches nothing but the front. One that means nothing reads as
 * 0 and writes nothing. Of a queue's memory nothing is touched before DRIVER_OK, during and after a
 * reset, after DEVICE_NEEDS_RESET or FAILED, while the driver has stopped the queue, or while a PCI
 * function may not master its bus.
 *
 * Order of use: create; forward accesses; in `notify` take requests from the ring, complete them,
 * then call piommu_virtio_front_completed; destroy.
 *
 * Concurrency: the caller serialises all calls on one front, those on its rings included. Callbacks
 * come from inside these calls. The last three (set_interrupt, send_message, bar_moved) must not
 * call back into the front; the others may call all but the accesses and destroy.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, sections 2.1 to 2.5 (status, features,
 * notifications, reset, configuration), 3.1 (initialization), 4.1 (virtio over PCI bus), 4.2
 * (virtio over MMIO); PCI Local Bus Specification 3.0, sections 6.1, 6.2, 6.7 and 6.8
 * (configuration space, capabilities, MSI-X).
 */

#include <piommu/virtio-device.h>
#include <piommu/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most queues. */
#define PIOMMU_VIRTIO_FRONT_MAX_QUEUES 8u
/** The most bytes of device configuration. */
#define PIOMMU_VIRTIO_FRONT_MAX_CONFIG 4096u
/** The most interrupt messages: one for changes of the configuration, one for each queue. */
#define PIOMMU_VIRTIO_FRONT_MAX_MESSAGES (PIOMMU_VIRTIO_FRONT_MAX_QUEUES + 1u)
/** virtio-mmio: where the configuration begins, behind the registers. */
#define PIOMMU_VIRTIO_FRONT_MMIO_CONFIG 0x100u
/** virtio-pci: bytes of the only BAR, number 0: memory, with 64 bits, not prefetchable. */
#define PIOMMU_VIRTIO_FRONT_BAR_SIZE 0x8000u
/**
 * virtio-pci: where the doorbells are in it, in a page of their own: 4 bytes for each queue. A
 * write of 2 bytes to one is `notify`, so a hypervisor can catch it without asking the front, as
 * long as it asks piommu_virtio_front_ring then.
 */
#define PIOMMU_VIRTIO_FRONT_DOORBELLS     0x3000u
#define PIOMMU_VIRTIO_FRONT_DOORBELL_SIZE 4u /**< bytes from one to the next */

struct piommu_virtio_front;

/** How the device and the hypervisor are told. A callback that is not marked optional is needed. */
struct piommu_virtio_front_callbacks {
    /**
     * The driver resets the device. All rings are stopped. True: the device is in its initial
     * state, and no longer touches memory of the guest. False: that takes a while;
     * piommu_virtio_front_reset_done is called when it is so, and till then the driver reads the
     * status that was. Optional: a device with no state of its own.
     */
    bool (*reset)(void *ctx);
    /**
     * Whether the device can work with these features, which are all among those offered. False:
     * FEATURES_OK does not stay set. Optional: it can.
     */
    bool (*check_features)(void *ctx, uint64_t features);
    /**
     * The driver has set DRIVER_OK: these features are in force, and rings are started. False: the
     * device cannot, and DEVICE_NEEDS_RESET is set. Optional.
     */
    bool (*ready)(void *ctx, uint64_t features);
    /** There may be something in the ring of a queue, which piommu_virtio_front_ring has. */
    void (*notify)(void *ctx, unsigned int queue);
    /**
     * virtio-mmio: the driver has stopped a queue and may start it anew: what was taken from its
     * ring is forgotten. Optional: a device that completes within `notify` all that it takes.
     */
    void (*queue_stopped)(void *ctx, unsigned int queue);
    /**
     * Reads 1, 2 or 4 bytes of the device configuration, naturally aligned and below config_size;
     * the first byte is the lowest of the value. Optional if config_size is 0.
     */
    uint32_t (*read_config)(void *ctx, uint32_t offset, unsigned int width);
    /** Writes to it; as read_config. Optional: nothing in it can be written. */
    void (*write_config)(void *ctx, uint32_t offset, unsigned int width, uint32_t value);
    /**
     * The interrupt line has this level from now on; low at first. Optional for virtio-pci with
     * interrupt_pin 0.
     */
    void (*set_interrupt)(void *ctx, bool high);
    /** Writes an interrupt message. Optional without messages. */
    void (*send_message)(void *ctx, uint64_t address, uint32_t data);
    /**
     * virtio-pci: the BAR is decoded at this address (of the bus) from now on and nowhere else;
     * `decoded` false: nowhere. A guest that looks for the size of a BAR may put it at strange
     * addresses for a moment. Optional.
     */
    void (*bar_moved)(void *ctx, bool decoded, uint64_t address);
};

/** A queue of the device. */
struct piommu_virtio_front_queue {
    uint16_t max_size;   /**< the most entries: a power of two, at most 32768 */
    uint16_t max_pieces; /**< as for piommu_device_ring_create */
};

/** What the device is. Zero selects the default of each member marked so. Copied. */
struct piommu_virtio_front_config {
    uint32_t type; /**< the virtio device type, e.g. 23 for an IOMMU; 1 to 63 */
    /**
     * Bits offered: those of the device type, and the INDIRECT_DESC, EVENT_IDX, RING_PACKED,
     * ACCESS_PLATFORM and ORDER_PLATFORM that it wants. VERSION_1 always is.
     */
    uint64_t features;
    uint32_t config_size;     /**< bytes of device configuration; default (0): it has none */
    unsigned int queue_count; /**< 1 to PIOMMU_VIRTIO_FRONT_MAX_QUEUES */
    struct piommu_virtio_front_queue queues[PIOMMU_VIRTIO_FRONT_MAX_QUEUES]; /**< so many of them */
    struct piommu_guest_memory memory; /**< where rings and buffers are */
    /** The VendorID of virtio-mmio, the Subsystem Vendor ID of virtio-pci. Default: 0x1af4. */
    uint32_t vendor;
    struct piommu_virtio_front_callbacks callbacks; /**< how it is told */
    void *ctx;                                      /**< handed to them */
};

/** What virtio-pci has besides. Zero selects the default of each member marked so. */
struct piommu_virtio_front_pci_config {
    /** Base class, subclass and interface, from bit 23 down. Default: 0xff0000, no class fits. */
    uint32_t class_code;
    uint16_t subsystem; /**< Subsystem ID, 0x40 or higher. Default: 0x40 */
    /** Entries of the MSI-X table, at most ..._MAX_MESSAGES. Default (0): no MSI-X. */
    uint16_t message_count;
    uint8_t interrupt_pin; /**< 1 to 4 for INTA to INTD. Default (0): no line */
};

/**
 * Makes the front of a device behind virtio-mmio: PIOMMU_VIRTIO_FRONT_MMIO_CONFIG + config_size
 * bytes of registers.
 *
 * @param host   the shim; BASE callbacks.
 * @param config what the device is.
 * @param front  set on success.
 * @return 0; -PIOMMU_EINVAL: also for a feature that the front does not have, or a callback that is
 *         missing; -PIOMMU_ENOMEM.
 *
 * Context: task.
 */
int piommu_virtio_front_create_mmio(struct piommu_host host,
                                    const struct piommu_virtio_front_config *config,
                                    struct piommu_virtio_front **front);

/** Makes the front of a device behind virtio-pci; otherwise as for virtio-mmio. Context: task. */
int piommu_virtio_front_create_pci(struct piommu_host host,
                                   const struct piommu_virtio_front_config *config,
                                   const struct piommu_virtio_front_pci_config *pci,
                                   struct piommu_virtio_front **front);

/** Frees a front with its rings; no callback is called. NULL is ignored. Context: task. */
void piommu_virtio_front_destroy(struct piommu_virtio_front *front);

/**
 * The guest reads a register of a front made by piommu_virtio_front_create_mmio.
 *
 * @param offset bytes from the first register.
 * @param width  1, 2, 4 or 8 bytes.
 *
 * Context: any, as far as the callbacks are.
 */
uint64_t piommu_virtio_front_mmio_read(struct piommu_virtio_front *front, uint64_t offset,
                                       unsigned int width);
/** The guest writes a register; as piommu_virtio_front_mmio_read. */
void piommu_virtio_front_mmio_write(struct piommu_virtio_front *front, uint64_t offset,
                                    unsigned int width, uint64_t value);

/**
 * The guest reads the configuration space of a function made by piommu_virtio_front_create_pci:
 * 256 bytes, with accesses of 1, 2 or 4. Context: any, as far as the callbacks are.
 */
uint32_t piommu_virtio_front_pci_config_read(struct piommu_virtio_front *front, uint64_t offset,
                                             unsigned int width);
/** The guest writes to it; as piommu_virtio_front_pci_config_read. */
void piommu_virtio_front_pci_config_write(struct piommu_virtio_front *front, uint64_t offset,
                                          unsigned int width, uint32_t value);

/**
 * The guest reads where the BAR of such a function is decoded.
 *
 * @param offset bytes from the BAR's address.
 * @param width  1, 2, 4 or 8 bytes.
 *
 * Context: any, as far as the callbacks are.
 */
uint64_t piommu_virtio_front_bar_read(struct piommu_virtio_front *front, uint64_t offset,
                                      unsigned int width);
/** The guest writes there; as piommu_virtio_front_bar_read. */
void piommu_virtio_front_bar_write(struct piommu_virtio_front *front, uint64_t offset,
                                   unsigned int width, uint64_t value);

/**
 * The ring of a queue if it may be used now, else NULL. To be asked each time: it is not to be used
 * after the call, or the callback, has returned in which it was asked for. What was taken and is to
 * be completed later goes on with the ring that there is then. If there is none, it is forgotten
 * (after `reset`, `queue_stopped`, a failure), or the bus must not be mastered: when that is over,
 * `notify` is called for each queue.
 *
 * @param queue any number. Context: any.
 */
struct piommu_device_ring *piommu_virtio_front_ring(struct piommu_virtio_front *front,
                                                    unsigned int queue);

/**
 * Requests of a queue have been completed: interrupts, if the driver wants that. To be called once
 * after a number of completions. Context: any, as far as the callbacks are.
 */
void piommu_virtio_front_completed(struct piommu_virtio_front *front, unsigned int queue);

/**
 * The device has changed its configuration, not on behalf of the driver. The driver is told, at
 * DRIVER_OK if it has not come so far. Between the change and this call the guest must not read.
 * Context: any, as far as the callbacks are.
 */
void piommu_virtio_front_config_changed(struct piommu_virtio_front *front);

/**
 * The device cannot go on, e.g. because a ring is broken: DEVICE_NEEDS_RESET is set, the driver
 * told, and all rings are stopped. Context: any, as far as the callbacks are.
 */
void piommu_virtio_front_fail(struct piommu_virtio_front *front);

/** The reset that the callback has begun is done. Without one of no effect. Context: any. */
void piommu_virtio_front_reset_done(struct piommu_virtio_front *front);

/**
 * The whole machine is reset: all registers are as after creation, those of PCI too, and rings are
 * stopped. The device itself is the caller's to reset: of the callbacks only set_interrupt and
 * bar_moved are called. Context: any.
 */
void piommu_virtio_front_system_reset(struct piommu_virtio_front *front);

/**
 * Saves the registers and the rings, for piommu_virtio_front_restore: the machine is suspended, or
 * moves elsewhere. Nothing else is called for the front in between. Requests that were taken and
 * not completed are part of it.
 *
 * @param buffer where to; NULL: only the size is wanted, and `room` is 0.
 * @param room   bytes there.
 * @param size   set to the bytes that it takes, also on -PIOMMU_ENOSPC.
 * @return 0; -PIOMMU_ENOSPC: there is not room enough; -PIOMMU_EAGAIN: a reset has begun and is not
 *         done; -PIOMMU_EINVAL.
 *
 * Context: any.
 */
int piommu_virtio_front_save(struct piommu_virtio_front *front, void *buffer, size_t room,
                             size_t *size);

/**
 * Brings a front to where piommu_virtio_front_save was called, which may have been another one that
 * was described in the same way. The guest's memory is there already, as it was. Of the callbacks
 * check_features, bar_moved, set_interrupt and, at the end, notify for each queue that runs are
 * called, not `reset` and `ready`: the state of the device behind the front is the caller's.
 *
 * The bytes may be anything. What is restored is a state that a driver could have brought about.
 *
 * @return 0; -PIOMMU_EINVAL: that makes no sense for this front, which is as after
 *         piommu_virtio_front_system_reset then.
 *
 * Context: any, as far as the callbacks are.
 */
int piommu_virtio_front_restore(struct piommu_virtio_front *front, const void *buffer, size_t size);

/** The device status, a sum of PIOMMU_VIRTIO_STATUS_*. Context: any. */
uint8_t piommu_virtio_front_status(const struct piommu_virtio_front *front);

/** The features in force; 0 before FEATURES_OK. Context: any. */
uint64_t piommu_virtio_front_features(const struct piommu_virtio_front *front);

#ifdef __cplusplus
}
#endif

#endif
