/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef HOSTILE_DEVICE_H
#define HOSTILE_DEVICE_H

/**
 * @file hostile_device.h
 * A virtio device behind virtio-pci or virtio-mmio that a fuzzer leads. By itself it is honest: it
 * answers each request with success. But it counts its turns (register reads, barriers, waits), and
 * when the count that the fuzzer has chosen is over it lies, holds back, or writes wherever a
 * device can write. So few bytes lead it deep into the life of its driver.
 *
 * The fuzzer's bytes are used from both ends: the program takes them from the front, the device
 * from the back. When none are left, the program ends and the device is honest.
 *
 * It also watches the driver: memory is taken back only after a confirmed reset, nothing is mapped
 * that is no register, and no call of the library calls the shim without end.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, sections 2.7 and 2.8 (split and packed
 * virtqueues), 4.1 (PCI), 4.2 (MMIO), 5.13 (IOMMU device).
 */

#include "fake_os.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HOSTILE_QUEUES = 2,
    HOSTILE_TYPE = 23,
    HOSTILE_BDF = 0x0108,
    HOSTILE_BARS = 6,
    HOSTILE_MMIO_SIZE = 0x200,
    HOSTILE_CONFIG = 40, /**< bytes of configuration */
    HOSTILE_LIES = 4,    /**< registers that can lie at once */
};

#define HOSTILE_MMIO_ADDRESS 0x0a000000ull

/** A queue as the driver has set it up. */
struct hostile_queue {
    uint16_t size;
    uint16_t vector;
    bool enabled;
    uint64_t parts[3];  /**< physical addresses: descriptors, driver's area, device's area */
    uint32_t available; /**< free-running: requests that were fetched, or packed descriptors */
    uint32_t used;      /**< free-running: those that were answered */
};

/** A register that goes on lying. */
struct hostile_lie {
    uint64_t offset;
    uint32_t value;
    unsigned int left; /**< reads */
};

/** Change what you like before the driver begins. */
struct hostile_device {
    const uint8_t *bytes; /**< what nobody has used yet */
    size_t left;
    struct fake_os *os;
    bool mmio;
    bool non_coherent; /**< it does not snoop the caches */
    bool talks;
    bool honest;        /**< may be set: no more lies, and what was held back goes on */
    bool quiet;         /**< may be set: no turns, and nothing is answered by itself */
    bool driver_judged; /**< may be set: its requests are those of an IOMMU's driver */
    bool tampered;      /**< since its reset it wrote where a driver's requests suffer */
    uint64_t features;
    uint64_t accepted;
    uint32_t device_select;
    uint32_t driver_select;
    uint8_t status;
    bool resetting; /**< a reset was asked for and not confirmed */
    uint8_t generation;
    uint8_t interrupts;
    uint8_t config[HOSTILE_CONFIG];
    uint16_t config_vector;
    uint16_t queue_select;
    uint16_t queue_max;
    struct hostile_queue queues[HOSTILE_QUEUES];
    uint8_t space[256]; /**< PCI configuration space */
    uint64_t bar_size[HOSTILE_BARS];
    struct hostile_lie lies[HOSTILE_LIES];
    unsigned int next_lie;
    unsigned int turns;   /**< until it does something */
    unsigned int answers; /**< until it lies in an answer */
    unsigned int held;    /**< turns for which it answers nothing */
    uint64_t calls;       /**< of the shim, since hostile_begin_call */
    const char *call;     /**< what the program does */
};

/** Makes an honest device on a fake OS of its own. */
struct hostile_device *hostile_create(const uint8_t *bytes, size_t size, bool mmio);
/** Frees it; `leaks`: memory need not have come back. */
void hostile_destroy(struct hostile_device *device, bool leaks);

/** Ends the program: something is broken. */
void hostile_broken(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/** With PIOMMU_FUZZ_TALK in the environment, for whoever looks for the mistake. */
void hostile_say(const struct hostile_device *device, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** The program is about to call the library. */
void hostile_begin_call(struct hostile_device *device, const char *name);
/** Ends the program if an error is none of those listed (ended by 0) and not 0. */
void hostile_expect(struct hostile_device *device, int error, const int *documented);
/** The driver may still be using what it gave to the device: no reset was confirmed. */
bool hostile_is_live(const struct hostile_device *device);

/** A byte of the program, and of the device; 0 if there are none left. */
unsigned int hostile_byte(struct hostile_device *device);
unsigned int hostile_own_byte(struct hostile_device *device);
/** A number at which arithmetic goes wrong, from the device's bytes. */
uint64_t hostile_boundary(struct hostile_device *device);

/** Does something bad at once. */
void hostile_act(struct hostile_device *device);
/** Answers up to `count` requests of a queue; returns how many it did. */
unsigned int hostile_answer(struct hostile_device *device, unsigned int queue, unsigned int count);

#endif
