/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_VIOMMU_H
#define PIOMMU_VIOMMU_H

/**
 * @file viommu.h
 * The engine with which a hypervisor offers a virtio-iommu to its guest: it takes the guest's
 * requests from a ring and carries them out on domains of the core. It knows nothing of transports:
 * rings come from virtio-device.h, registers from virtio-front.h or from the hypervisor. Both
 * together are a device: viommu-device.h.
 *
 * An *endpoint* is what the guest may attach: a device of the core, which the hypervisor has passed
 * through; or a *software endpoint*, a device that the hypervisor emulates itself, which is told of
 * mappings and asks for translations. A *guest domain* has a domain of the core as soon as a device
 * is in it.
 *
 * The guest is hostile. Each request is copied once, then checked, then carried out. It can neither
 * reach memory that piommu_viommu_callbacks::translate does not grant, nor take more memory or
 * time than it is given: what it may have is limited, and each call of piommu_viommu_service does
 * bounded work and goes on where it stopped. A request that fails changes nothing, unless its
 * status is DEVERR: then hardware has failed, and what is known of it is the core's.
 *
 * Concurrency: the caller serialises the calls on one engine, and those of the core that touch the
 * domains and devices in it (core: Registration, and Mapping). piommu_viommu_report_fault runs
 * beside anything, also from a fault callback of the core.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, section 5.13 "IOMMU device".
 */

#include <piommu/device.h>
#include <piommu/virtio-device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct piommu_viommu;
struct piommu_viommu_endpoint;

/* Features of the device, as piommu_viommu_features tells them. */
#define PIOMMU_VIOMMU_F_INPUT_RANGE  (1ull << 0) /**< addresses that can be mapped are limited */
#define PIOMMU_VIOMMU_F_DOMAIN_RANGE (1ull << 1) /**< numbers of domains are limited */
#define PIOMMU_VIOMMU_F_MAP_UNMAP    (1ull << 2) /**< MAP and UNMAP */
#define PIOMMU_VIOMMU_F_PROBE        (1ull << 4) /**< PROBE */
#define PIOMMU_VIOMMU_F_MMIO         (1ull << 5) /**< the flag MMIO of MAP */
#define PIOMMU_VIOMMU_F_BYPASS_CONFIG \
    (1ull << 6) /**< `bypass` of the configuration, and ATTACH's */

#define PIOMMU_VIOMMU_REQUESTS 0u /**< the queue for requests */
#define PIOMMU_VIOMMU_EVENTS   1u /**< the queue for reports of faults */
/** Bytes of its configuration. */
#define PIOMMU_VIOMMU_CONFIG_SIZE 40u
/** The most pieces that a request of a sensible driver has; for piommu_device_ring_create. */
#define PIOMMU_VIOMMU_MAX_PIECES 8u

/** What an engine asks of a hypervisor. All are called within calls of the engine. */
struct piommu_viommu_callbacks {
    /**
     * Translates memory of the guest, for a device to use. Required. Asked for what a domain maps
     * as soon as a device has been in it: by MAP from then on, and by the first ATTACH for what was
     * mapped before.
     *
     * @param guest guest physical address; on the granule.
     * @param size  bytes that are wanted from there on.
     * @param prot  what the device is to do: PIOMMU_PROT_READ, _WRITE, and _DEVICE for registers.
     * @param piece set on success: where it begins in the machine, on the granule, and how much of
     *              it is contiguous there: whole granules, not more than `size`.
     * @return 0; any error: the guest must not have this. The memory stays where it is as long as
     *         it may be mapped. No call ends some of a guest's mappings only: a hypervisor that
     *         takes memory away from its guest refuses that memory here from then on, and removes
     *         the endpoints or resets the guest before somebody else gets it.
     */
    int (*translate)(void *cookie, uint64_t guest, uint64_t size, piommu_prot prot,
                     struct piommu_segment *piece);
    /**
     * The ring of a queue, if the device may use it now; NULL: it is stopped, or the guest's memory
     * must not be touched. Asked for anew in each call of piommu_viommu_service. Required. What was
     * answered without a ring waits for one, unless piommu_viommu_queue_stopped is called.
     */
    struct piommu_device_ring *(*ring)(void *cookie, unsigned int queue);
    /**
     * Requests or events were given back to the guest: see piommu_device_ring_wants_interrupt. Once
     * for all of one call of piommu_viommu_service. Required.
     */
    void (*completed)(void *cookie, unsigned int queue);
    /** The device needs a reset (DEVICE_NEEDS_RESET): a ring is broken. Required. */
    void (*needs_reset)(void *cookie);
    /**
     * A software endpoint can use a mapping now. May be NULL. `endpoint` is its cookie.
     */
    void (*mapped)(void *cookie, void *endpoint, struct piommu_range iova, uint64_t guest,
                   piommu_prot prot);
    /**
     * A software endpoint must not use any mapping in a range any more, from when this returns. May
     * be NULL.
     */
    void (*unmapped)(void *cookie, void *endpoint, struct piommu_range iova);
};

/** What a device is to be. Zero selects the default of each member marked so. */
struct piommu_viommu_config {
    struct piommu_viommu_callbacks callbacks; /**< copied */
    void *cookie;                             /**< handed to each */
    /**
     * The lowest bit is the granule, not below that of any device's IOMMU; others are sizes that
     * are cheap. Default: 0x40201000.
     */
    uint64_t page_sizes;
    struct piommu_range input; /**< addresses that can be mapped. Both 0: all */
    uint32_t last_domain;      /**< the highest number of a domain. Default: any */
    uint32_t max_domains;      /**< at a time. Default: 64 */
    uint32_t max_mappings;     /**< in all domains together. Default: 65536 */
    /** Bytes of the engine's own memory for them (the core's tables are the shim's affair, who is
     *  told the owner). Default: no other limit than the numbers. */
    uint64_t max_bytes;
    uint32_t probe_size; /**< bytes of properties. Default: 512; at most 4096 */
    /**
     * What the guest's devices can reach that are bypassed: all memory of the guest, as the guest
     * addresses it. The caller's; NULL: there is no bypass, BYPASS_CONFIG is not offered, and what
     * is not attached is blocked.
     */
    struct piommu_domain *bypass;
    bool starts_bypassed; /**< `bypass` of the configuration after a system reset */
    void *owner;          /**< piommu_domain_config::owner of the engine's domains */
    const char *name;     /**< of these domains, for log lines; must stay valid; may be NULL */
};

/** Counters. */
struct piommu_viommu_statistics {
    uint32_t domains;        /**< now */
    uint32_t mappings;       /**< now */
    uint64_t bytes;          /**< of the engine's own memory for these */
    uint64_t requests;       /**< that were answered */
    uint64_t refused;        /**< those of them that were not answered with OK */
    uint64_t faults;         /**< that were reported to the guest */
    uint64_t faults_dropped; /**< for which there was no room */
};

/**
 * Creates the engine of a virtio-iommu without endpoints, as after a system reset.
 *
 * @param host   the shim; BASE and LOCK callbacks.
 * @param config what it is to be; copied.
 * @param viommu set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOMEM.
 *
 * Context: task.
 */
int piommu_viommu_create(struct piommu_host host, const struct piommu_viommu_config *config,
                         struct piommu_viommu **viommu);

/**
 * Destroys an engine. Its endpoints are gone, and their devices are blocked. NULL is ignored.
 *
 * @return 0; -PIOMMU_EFAILED: a device could not be blocked, nothing more was done; or an error of
 *         piommu_domain_destroy.
 *
 * Context: task; may wait.
 */
int piommu_viommu_destroy(struct piommu_viommu *viommu);

/** An endpoint of the guest. */
struct piommu_viommu_endpoint_config {
    uint32_t id; /**< what the guest knows it by */
    /** The device, alone in its group, and blocked. NULL: a software endpoint. */
    struct piommu_device *device;
    void *cookie; /**< of a software endpoint: handed to mapped and unmapped */
    /**
     * What the guest must not map for it, as it finds by PROBE: PIOMMU_RESERVED and _RESERVED_MSI.
     * Copied. Those of the device are not added by themselves, since the guest's interrupt
     * controller is another one.
     */
    const struct piommu_reserved_region *regions;
    size_t region_count; /**< as many as fit into probe_size */
};

/**
 * Adds an endpoint. It is not attached: blocked, or bypassed if the guest has switched that on.
 *
 * @param endpoint set on success.
 * @return 0; -PIOMMU_EINVAL (also: a reversed region); -PIOMMU_EEXIST: the number is used;
 *         -PIOMMU_EGROUP: the device has others in its group; -PIOMMU_ENOSPC: more regions than
 *         PROBE can tell; -PIOMMU_ENOMEM; or an error of piommu_device_attach for the bypass.
 *
 * Context: task; may wait.
 */
int piommu_viommu_add_endpoint(struct piommu_viommu *viommu,
                               const struct piommu_viommu_endpoint_config *config,
                               struct piommu_viommu_endpoint **endpoint);

/**
 * Removes an endpoint; its device is blocked. A domain that it was the last one in ends as if it
 * was detached. The guest should have been asked to give the device up before: a driver that
 * detaches it later is told that there is no such endpoint. NULL is ignored.
 *
 * @return 0; -PIOMMU_EFAILED: the device could not be blocked, and stays; -PIOMMU_EAGAIN: a request
 *         is half done: call piommu_viommu_service until it says 0, and then again.
 *
 * Context: task; may wait.
 */
int piommu_viommu_remove_endpoint(struct piommu_viommu_endpoint *endpoint);

/** The features that the device offers: PIOMMU_VIOMMU_F_*. */
uint64_t piommu_viommu_features(const struct piommu_viommu *viommu);

/**
 * The driver is ready (DRIVER_OK): requests are carried out from now on. Of no effect without an
 * engine.
 *
 * @param features those that were agreed on.
 */
void piommu_viommu_start(struct piommu_viommu *viommu, uint64_t features);

/**
 * The driver has stopped a queue by itself, and may start it anew: the request that is being
 * carried out comes to its end, but nobody is told.
 *
 * @param queue any number.
 */
void piommu_viommu_queue_stopped(struct piommu_viommu *viommu, unsigned int queue);

/**
 * The device is reset: all endpoints leave their domains, which end. Devices are blocked, or
 * bypassed, when it returns, and rings are not touched any more; memory is given back in
 * piommu_viommu_service, before the first request of the next life is looked at. Of a device whose
 * hardware does not obey, piommu_device_get_id tells.
 *
 * Context: task; may wait for the hardware.
 */
void piommu_viommu_reset(struct piommu_viommu *viommu);

/** The whole guest is reset: as piommu_viommu_reset, and `bypass` is what it was at first. */
void piommu_viommu_system_reset(struct piommu_viommu *viommu);

/**
 * Does what there is to do: requests, the rest of a reset, reports of faults. To be called after
 * the guest has notified, after a reset, when a ring is there again, and whenever the last call has
 * said so.
 *
 * @param budget how much: requests, leaves stored or removed, records; 0 counts as 1. One step may
 *               do some more: attaching a device makes the hardware know what is mapped, and an
 *               invalidation is waited for.
 * @return 1: there is more; 0: there is not.
 *
 * Context: task; may wait for the hardware.
 */
int piommu_viommu_service(struct piommu_viommu *viommu, uint32_t budget);

/**
 * Reads the device's configuration, as the guest sees it: little-endian bytes. What lies behind
 * its end reads as 0.
 */
void piommu_viommu_read_config(const struct piommu_viommu *viommu, uint32_t offset, void *buffer,
                               size_t size);

/**
 * Takes a write of the guest into the configuration. Only `bypass` can be written; devices that
 * are not attached are blocked or bypassed when it returns.
 */
void piommu_viommu_write_config(struct piommu_viommu *viommu, uint32_t offset, const void *buffer,
                                size_t size);

/**
 * Takes a fault of one of the guest's devices, for the guest. It is reported by the next
 * piommu_viommu_service; of those that come faster than the guest takes them, the oldest 16 are
 * kept, and the others dropped.
 *
 * @param id the endpoint.
 * @return whether it was kept, and a service is needed.
 */
bool piommu_viommu_report_fault(struct piommu_viommu *viommu, uint32_t id,
                                const struct piommu_fault *fault);

/**
 * Translates an access of a software endpoint, every byte of it.
 *
 * @param iova   where it begins.
 * @param size   bytes, not 0.
 * @param prot   PIOMMU_PROT_READ, _WRITE or both: what every byte must allow.
 * @param pieces set on success: guest physical memory, piece by piece.
 * @param room   how many pieces there is room for.
 * @param count  set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOENT: something of it is not mapped, or the endpoint is not
 *         attached; -PIOMMU_EOPNOTSUPP: something of it is mapped, but not for this;
 *         -PIOMMU_ENOSPC: too little room.
 */
int piommu_viommu_translate(struct piommu_viommu_endpoint *endpoint, uint64_t iova, uint64_t size,
                            piommu_prot prot, struct piommu_segment *pieces, size_t room,
                            size_t *count);

/**
 * Saves what the guest has done with the device, for piommu_viommu_restore: domains, mappings, who
 * is attached, reports that wait. Not the endpoints themselves, nor rings.
 *
 * @param buffer where to; NULL: only the size is wanted, and `room` is 0.
 * @param room   bytes there.
 * @param size   set to the bytes that it takes, also on -PIOMMU_ENOSPC.
 * @return 0; -PIOMMU_ENOSPC: there is not room enough; -PIOMMU_EAGAIN: a request is half done: call
 *         piommu_viommu_service until it says 0, and then again; -PIOMMU_EINVAL.
 *
 * Context: any.
 */
int piommu_viommu_save(struct piommu_viommu *viommu, void *buffer, size_t room, size_t *size);

/**
 * Brings an engine to where piommu_viommu_save was called, which may have been another one with the
 * same page sizes, ranges, probe size and features. Its endpoints have been added, and what of the
 * guest's memory was mapped can be translated. What the engine had before is forgotten. A domain
 * that devices have left counts as one in which there has been none.
 *
 * The bytes may be anything: they are carried out as the requests of a guest would be, within the
 * same limits, and nothing that a guest could not do can come of them.
 *
 * @return 0; -PIOMMU_EINVAL: that makes no sense, does not fit this engine, or needs what the
 *         callback refuses; -PIOMMU_EOPNOTSUPP: hardware cannot do it; -PIOMMU_ENOMEM: also beyond
 *         a limit; -PIOMMU_EFAILED. After an error the engine is as after
 *         piommu_viommu_system_reset.
 *
 * Context: task; may wait for the hardware.
 */
int piommu_viommu_restore(struct piommu_viommu *viommu, const void *buffer, size_t size);

/** Fills in the counters. */
void piommu_viommu_get_statistics(const struct piommu_viommu *viommu,
                                  struct piommu_viommu_statistics *statistics);

#ifdef __cplusplus
}
#endif

#endif
