/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FRONT_MACHINE_H
#define FRONT_MACHINE_H

/**
 * @file front_machine.h
 * A machine with a device front (piommu/virtio-front.h) and a toy device behind it, which gives
 * back what it reads. A driver runs on the guest's fake OS, whose registers, configuration space
 * and memory are those of the machine, so that the library's own driver can be tried on it. A test
 * can play the driver, too, register by register.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, sections 4.1.4.3 and 4.2.2 (registers).
 */

#include "fake_os.h"

#include <piommu/virtio-front.h>

enum {
    FRONT_MACHINE_QUEUES = 3,
    FRONT_MACHINE_QUEUE_SIZE = 16,
    FRONT_MACHINE_CONFIG = 40,
    FRONT_MACHINE_WRITABLE = 36, /**< the one byte of the configuration that can be written */
    FRONT_MACHINE_TYPE = 23,
    FRONT_MACHINE_MESSAGES = 64, /**< that are kept */
    FRONT_MACHINE_CLASS = 0x080600,
    FRONT_MACHINE_BDF = 0x18,
};

#define FRONT_MACHINE_REGISTERS 0x0a000000ull  /**< where virtio-mmio is */
#define FRONT_MACHINE_BAR       0x120000000ull /**< where front_machine_start puts the BAR */

/** Registers that both transports have, by their names in the specification. */
enum front_machine_register {
    DEVICE_FEATURES_SEL,
    DEVICE_FEATURES,
    DRIVER_FEATURES_SEL,
    DRIVER_FEATURES,
    STATUS,
    GENERATION,
    QUEUE_SEL,
    QUEUE_SIZE,
    QUEUE_READY,
    QUEUE_DESC,
    QUEUE_DESC_HIGH,
    QUEUE_DRIVER,
    QUEUE_DRIVER_HIGH,
    QUEUE_DEVICE,
    QUEUE_DEVICE_HIGH,
};

/** Set before front_machine_start. */
struct front_machine_options {
    bool pci;
    uint64_t features;      /**< besides VERSION_1 */
    uint16_t message_count; /**< virtio-pci */
    uint8_t interrupt_pin;  /**< virtio-pci */
    bool migrates;          /**< another front takes over, after each write to a register */
};

struct front_machine {
    struct fake_os *os;         /**< the guest's */
    struct fake_os *hypervisor; /**< what the front runs on */
    struct piommu_virtio_front *front;
    struct front_machine_options options;
    uint64_t memory; /**< physical address of pages for rings and buffers */

    /* How the device behaves; may be changed at any time. */
    bool slow_reset;        /**< a reset takes until the next wait of the driver */
    bool idle;              /**< notifications are only counted */
    bool refuses_start;     /**< says no to DRIVER_OK */
    uint64_t needs_feature; /**< says no to FEATURES_OK without it */
    bool memory_forbidden;  /**< no access to the guest's memory may come now */
    bool config_moves;      /**< the configuration changes each time that it is read */
    /** Called before each access to the guest's memory, for the queue `working_on`. May be NULL. */
    void (*on_access)(struct front_machine *machine);
    uint8_t config[FRONT_MACHINE_CONFIG];

    /* What it was told, and has done. */
    unsigned int resets;
    unsigned int starts;
    unsigned int stops;
    unsigned int notifications[FRONT_MACHINE_QUEUES];
    unsigned int completed;
    unsigned int accesses; /**< to the guest's memory */
    unsigned int working_on;
    bool resetting;
    bool line;
    bool decoded;
    uint64_t bar;
    struct piommu_virtio_message messages[FRONT_MACHINE_MESSAGES];
    unsigned int message_count; /**< sent, also beyond those that are kept */
};

enum { FRONT_MACHINE_PAGES = 16 };

/** Makes the machine, with the BAR at its place, and memory decoding and bus mastering on. */
struct front_machine *front_machine_start(const struct front_machine_options *options);
/** The same, without anything that firmware does. */
struct front_machine *front_machine_power_on(const struct front_machine_options *options);
void front_machine_stop(struct front_machine *machine);
/** Saves the front. To be freed. NULL: it cannot be saved now. */
void *front_machine_save(struct front_machine *machine, size_t *size);
/** Puts a new front in the place of the one that there is. */
void front_machine_renew(struct front_machine *machine);
/** Both, and restores the state; if it cannot be saved now, nothing. */
void front_machine_migrate(struct front_machine *machine);
/** What the front is made of; the machine's own callbacks are in it. */
void front_machine_describe(struct front_machine *machine,
                            struct piommu_virtio_front_config *config,
                            struct piommu_virtio_front_pci_config *pci);

/** The device looks whether it has to interrupt for a queue, which may have any number. */
void front_machine_complete(struct front_machine *machine, unsigned int queue);

/** Where a register is: behind virtio-mmio, or in the BAR. */
struct front_place {
    uint16_t offset;
    uint16_t width;
};
struct front_place front_register_place(bool pci, enum front_machine_register what);

/** Reads and writes a register, over either transport. */
uint32_t front_machine_get(struct front_machine *machine, enum front_machine_register what);
void front_machine_set(struct front_machine *machine, enum front_machine_register what,
                       uint32_t value);
/** Both halves of an address. */
void front_machine_set64(struct front_machine *machine, enum front_machine_register low,
                         uint64_t value);
/** Rings a doorbell. */
void front_machine_notify(struct front_machine *machine, uint16_t queue);
/** Reads the interrupt status and acknowledges all of it. */
uint32_t front_machine_take_interrupt(struct front_machine *machine);
/** Reads or writes the device configuration. */
uint64_t front_machine_read_config(struct front_machine *machine, uint64_t offset,
                                   unsigned int width);
void front_machine_write_config(struct front_machine *machine, uint64_t offset, unsigned int width,
                                uint64_t value);

/** Goes up to FEATURES_OK with these features and VERSION_1; the status then. */
uint32_t front_machine_agree(struct front_machine *machine, uint64_t features);
/** Sets a split ring of a queue up, at memory + page * 4096, and enables it. */
void front_machine_enable(struct front_machine *machine, uint16_t queue, uint16_t size,
                          unsigned int page);
/** Makes a request available in it: so many bytes that go there and back; the first one. */
void front_machine_request(struct front_machine *machine, unsigned int page, uint16_t size);

/** What a driver opens. */
struct piommu_virtio_pci_config front_machine_pci_place(void);
struct piommu_virtio_mmio_config front_machine_mmio_place(void);

#endif
