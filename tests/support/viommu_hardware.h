/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_HARDWARE_H
#define VIOMMU_HARDWARE_H

/**
 * @file viommu_hardware.h
 * What a hypervisor has that offers a virtio-iommu to guests: a fake OS, IOMMUs with a context, and
 * devices whose DMA goes through them. The kinds differ in the IOMMUs.
 */

#include <piommu/piommu.h>

#include "fake_os.h"
#include "mock_backend.h"

#define VIOMMU_HARDWARE_DEVICES 8u

/** Who is told what happens. */
struct viommu_listener {
    void (*changed)(void *ctx); /**< hardware was given something to do: try what devices reach */
    void (*fault)(void *ctx, const struct piommu_fault *fault);
    void *ctx;
};

struct viommu_hardware {
    struct viommu_listener listener; /**< may be changed */
    struct fake_os *os;
    struct piommu_context *context;
    /** Adds a device; its cookie is `owner`. */
    struct piommu_device *(*add_device)(struct viommu_hardware *hardware, void *owner);
    /** A paging domain for all devices; the caller destroys it. */
    struct piommu_domain *(*make_domain)(struct viommu_hardware *hardware);
    /** Where DMA of the nth device that was added gets to; false: nowhere. */
    bool (*reaches)(struct viommu_hardware *hardware, unsigned int number, uint64_t iova,
                    bool write, uint64_t *physical);
    /** Reports what that device was refused. NULL: the hardware does not say whose fault it was. */
    void (*raise)(struct viommu_hardware *hardware, unsigned int number,
                  enum piommu_fault_reason reason, uint64_t iova, bool write);
    /** The unit of the nth device; NULL: it is no mock. */
    struct mock *(*unit)(struct viommu_hardware *hardware, unsigned int number);
    /** Takes all down, which has to work: devices are in no domain. */
    void (*close)(struct viommu_hardware *hardware);
    unsigned int device_count;
    struct piommu_device *devices[VIOMMU_HARDWARE_DEVICES];
};

enum viommu_hardware_kind {
    VIOMMU_HARDWARE_TABLES,   /**< two mock units with page tables */
    VIOMMU_HARDWARE_REQUESTS, /**< two that are told each mapping */
    VIOMMU_HARDWARE_KINDS,
};

struct viommu_hardware *viommu_hardware_open_mocks(enum viommu_hardware_kind kind);
/** An IPMMU of R-Car Gen3 with tables of stage 2, and two cache units with masters. */
struct viommu_hardware *viommu_hardware_open_ipmmu(void);

#endif
