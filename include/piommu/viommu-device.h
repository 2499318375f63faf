/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_VIOMMU_DEVICE_H
#define PIOMMU_VIOMMU_DEVICE_H

/**
 * @file viommu-device.h
 * A virtio-iommu for a guest, as a whole: the engine (viommu.h) behind the registers of virtio-mmio
 * or virtio-pci (virtio-front.h). The hypervisor traps the guest's accesses and forwards them to
 * the front, tells the engine of endpoints and faults, and calls its service when there is work.
 *
 * Order of use: create; piommu_viommu_add_endpoint; forward accesses, and service; destroy.
 *
 * Concurrency: the caller serialises all calls on one device, on its engine and on its front, but
 * for piommu_viommu_report_fault. Context of writes to registers: task, they may wait for the
 * hardware: a reset of the device blocks what it had mapped, and a write to its configuration may
 * block what was bypassed. Reads: any.
 */

#include <piommu/viommu.h>
#include <piommu/virtio-front.h>

#ifdef __cplusplus
extern "C" {
#endif

struct piommu_viommu_device;

/** What a device is to be. Zero selects the default of each member marked so. Copied. */
struct piommu_viommu_device_config {
    /**
     * The engine. Of its callbacks `ring`, `completed` and `needs_reset` are the device's own, and
     * must be NULL here; `cookie` is handed to the others and to those below.
     */
    struct piommu_viommu_config engine;
    struct piommu_guest_memory memory; /**< where rings and buffers are */
    /** Of the ring: INDIRECT_DESC, EVENT_IDX, RING_PACKED. Default (0): the first two. */
    uint64_t ring_features;
    uint16_t request_entries; /**< of the queue for requests, a power of two. Default: 256 */
    uint16_t event_entries;   /**< of the one for faults. Default: 64 */
    uint32_t vendor;          /**< as piommu_virtio_front_config::vendor */
    /**
     * There is work: piommu_viommu_service is to be called, where it may wait, until it says that
     * there is no more. Comes from inside of calls on the front, of a restore, and of a system
     * reset. Required.
     */
    void (*work)(void *cookie);
    /** As that of piommu_virtio_front_callbacks. */
    void (*set_interrupt)(void *cookie, bool high);
    /** As that of piommu_virtio_front_callbacks. */
    void (*send_message)(void *cookie, uint64_t address, uint32_t data);
    /** As that of piommu_virtio_front_callbacks. */
    void (*bar_moved)(void *cookie, bool decoded, uint64_t address);
};

/**
 * Makes a device behind virtio-mmio, without endpoints.
 *
 * @param host   the shim; BASE and LOCK callbacks.
 * @param config what it is to be.
 * @param device set on success.
 * @return 0; -PIOMMU_EINVAL: also as piommu_viommu_create and piommu_virtio_front_create_mmio;
 *         -PIOMMU_ENOMEM.
 *
 * Context: task.
 */
int piommu_viommu_device_create_mmio(struct piommu_host host,
                                     const struct piommu_viommu_device_config *config,
                                     struct piommu_viommu_device **device);

/**
 * Makes a device behind virtio-pci, otherwise as for virtio-mmio. The class of the function is that
 * of an IOMMU, 0x080600, if `pci` has none. Context: task.
 */
int piommu_viommu_device_create_pci(struct piommu_host host,
                                    const struct piommu_viommu_device_config *config,
                                    const struct piommu_virtio_front_pci_config *pci,
                                    struct piommu_viommu_device **device);

/**
 * Destroys a device with its engine and front. NULL is ignored.
 *
 * @return 0; or an error of piommu_viommu_destroy: then it is still there, and does nothing more
 *         for the guest.
 *
 * Context: task; may wait.
 */
int piommu_viommu_device_destroy(struct piommu_viommu_device *device);

/**
 * The whole guest is reset: the registers and the engine are as after creation, but for the
 * endpoints, which stay. Context: task; may wait.
 */
void piommu_viommu_device_system_reset(struct piommu_viommu_device *device);

/**
 * Saves the device, as piommu_viommu_save and piommu_virtio_front_save together. The guest does not
 * run.
 *
 * @return 0; -PIOMMU_ENOSPC, -PIOMMU_EAGAIN, -PIOMMU_EINVAL as there.
 *
 * Context: any.
 */
int piommu_viommu_device_save(struct piommu_viommu_device *device, void *buffer, size_t room,
                              size_t *size);

/**
 * Restores it, as piommu_viommu_restore and piommu_virtio_front_restore together; `work` is called.
 * The bytes may be anything.
 *
 * @return 0; or an error of piommu_viommu_restore: then it is as after
 *         piommu_viommu_device_system_reset.
 *
 * Context: task; may wait.
 */
int piommu_viommu_device_restore(struct piommu_viommu_device *device, const void *buffer,
                                 size_t size);

/** Its engine: for endpoints, faults, translations, and service. Its start and resets come from
 *  the front. */
struct piommu_viommu *piommu_viommu_device_engine(struct piommu_viommu_device *device);

/** Its front: for the guest's accesses. */
struct piommu_virtio_front *piommu_viommu_device_front(struct piommu_viommu_device *device);

#ifdef __cplusplus
}
#endif

#endif
