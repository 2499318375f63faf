/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIRTIO_FRONT_H
#define PIOMMU_LIB_VIRTIO_FRONT_H

/* The front of a device that is offered to a guest: what its transports have in common. */

#include <piommu/virtio-front.h>

#include "../base/blob.h"
#include "../base/host.h"

/* What can interrupt: the configuration, or from 1 on the queues. */
#define FRONT_SOURCE_CONFIG     0u
#define FRONT_SOURCE_QUEUE(num) ((num) + 1u)

/* Bits of the interrupt status: VIRTIO 1.2, 4.1.4.5 and 4.2.2. */
#define FRONT_ISR_QUEUE  0x1u
#define FRONT_ISR_CONFIG 0x2u

/* Bits of the device status that a driver can set. */
#define FRONT_STATUS_OF_DRIVER                                           \
    (PIOMMU_VIRTIO_STATUS_ACKNOWLEDGE | PIOMMU_VIRTIO_STATUS_DRIVER |    \
     PIOMMU_VIRTIO_STATUS_DRIVER_OK | PIOMMU_VIRTIO_STATUS_FEATURES_OK | \
     PIOMMU_VIRTIO_STATUS_FAILED)

#define FRONT_DEFAULT_VENDOR 0x1af4u

/* Registers that both transports have, at offsets of their own. */
enum front_register {
    FRONT_DEVICE_FEATURES_SELECT,
    FRONT_DEVICE_FEATURES,
    FRONT_DRIVER_FEATURES_SELECT,
    FRONT_DRIVER_FEATURES,
    FRONT_STATUS,
    FRONT_GENERATION,
    FRONT_QUEUE_SELECT,
    FRONT_QUEUE_MAX,
    FRONT_QUEUE_SIZE,
    FRONT_QUEUE_ENABLE,
    FRONT_QUEUE_ADDRESSES, /* low and high half of each: descriptors, driver area, device area */
    FRONT_QUEUE_ADDRESSES_END = FRONT_QUEUE_ADDRESSES + 6,
};

struct front_queue {
    struct piommu_device_ring *ring;
    uint16_t size;
    bool enabled; /* the driver cannot change the others any more */
    bool started; /* the ring is */
    uint64_t addresses[3];
};

/* What is different for the transports. */
struct front_transport {
    size_t size;  /* of the front's object */
    uint8_t kind; /* in saved state */
    /* Whether the interrupt line has to be high. */
    bool (*line)(const struct piommu_virtio_front *front);
    /* Interrupts by a message, if these are in use: else false. NULL: there are none. */
    bool (*message)(struct piommu_virtio_front *front, unsigned int source);
    /* The device was reset: forgets what the driver has set up for it. May be NULL. */
    void (*initialise)(struct piommu_virtio_front *front);
    /* The machine was reset: everything is as it was made. May be NULL. */
    void (*power_on)(struct piommu_virtio_front *front);
    /* What it has beyond the head. May be NULL. */
    void (*state)(struct piommu_virtio_front *front, struct blob *blob);
};

/* The head of each transport's own structure. */
struct piommu_virtio_front {
    struct piommu_host host;
    const struct front_transport *transport;
    struct piommu_virtio_front_config config;
    struct front_queue queues[PIOMMU_VIRTIO_FRONT_MAX_QUEUES];
    uint64_t driver_features;
    uint32_t device_features_select;
    uint32_t driver_features_select;
    uint32_t queue_select;
    uint32_t generation;
    uint8_t status;
    uint8_t isr;
    bool resetting;      /* the device has not said yet that it is done */
    bool change_untold;  /* of the configuration, from before DRIVER_OK */
    bool line;           /* its level */
    bool may_use_memory; /* the bus lets the device do so */
};

/* Whether an access is naturally aligned and lies in a region of that size. */
static inline bool front_is_access(uint64_t offset, unsigned int width, uint64_t size)
{
    return (width == 1 || width == 2 || width == 4 || width == 8) && (offset & (width - 1)) == 0 &&
           offset < size && width <= size - offset;
}

/* Changes one half of a 64-bit register. */
static inline void front_set_half(uint64_t *value, unsigned int half, uint32_t word)
{
    unsigned int shift = 32 * half;

    *value = (*value & ~((uint64_t)UINT32_MAX << shift)) | ((uint64_t)word << shift);
}

int piommu_virtio_front_create_(struct piommu_host host,
                                const struct piommu_virtio_front_config *config,
                                const struct front_transport *transport,
                                struct piommu_virtio_front **front);

/* Those of a queue are those of the one that is selected. */
uint32_t piommu_virtio_front_read_(struct piommu_virtio_front *front, enum front_register what);
void piommu_virtio_front_write_(struct piommu_virtio_front *front, enum front_register what,
                                uint32_t value);

/* The device configuration: any access to it. */
uint64_t piommu_virtio_front_read_config_(struct piommu_virtio_front *front, uint64_t offset,
                                          unsigned int width);
void piommu_virtio_front_write_config_(struct piommu_virtio_front *front, uint64_t offset,
                                       unsigned int width, uint64_t value);

/* The driver has rung the doorbell of a queue, which may have any number. */
void piommu_virtio_front_notify_(struct piommu_virtio_front *front, unsigned int queue);

/* Gives the interrupt line the level that it has to have. */
void piommu_virtio_front_update_line_(struct piommu_virtio_front *front);

/* Whether rings that are enabled are started. */
bool piommu_virtio_front_is_running_(const struct piommu_virtio_front *front);

/* Starts one; false: it cannot be there. */
bool piommu_virtio_front_start_ring_(struct piommu_virtio_front *front, struct front_queue *queue);

/* Whether the device can work with what the driver has accepted. */
bool piommu_virtio_front_agrees_(const struct piommu_virtio_front *front);

/* Forgets bits of the interrupt status. */
void piommu_virtio_front_acknowledge_(struct piommu_virtio_front *front, uint32_t bits);

#endif
