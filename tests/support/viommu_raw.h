/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_RAW_H
#define VIOMMU_RAW_H

/**
 * @file viommu_raw.h
 * A driver for tests of the virtio-iommu model itself. It is as raw as can be, with ring code of
 * its own, so that the model is not judged by the library that it is to judge.
 */

#include "virtio_iommu_model.h"

#include <stdbool.h>
#include <stdint.h>

#define RAW_MEMORY_BASE UINT64_C(0x40000000)
#define RAW_MEMORY_SIZE 0x40000u

enum {
    RAW_QUEUE_SIZE = 64,
    RAW_RINGS = 0x0000,   /* 0x1000 for each queue */
    RAW_BUFFERS = 0x2000, /* 0x400 for each request slot */
    RAW_BUFFER_SIZE = 0x400,
    RAW_EVENTS = 0x30000, /* 32 for each event buffer */
    RAW_DATA = 0x38000,   /* what DMA reads and writes */

    RAW_COMMON_DEVICE_SELECT = 0,
    RAW_COMMON_DEVICE_FEATURES = 4,
    RAW_COMMON_DRIVER_SELECT = 8,
    RAW_COMMON_DRIVER_FEATURES = 12,
    RAW_COMMON_STATUS = 20,
    RAW_COMMON_GENERATION = 21,
    RAW_COMMON_QUEUE_SELECT = 22,
    RAW_COMMON_QUEUE_SIZE = 24,
    RAW_COMMON_QUEUE_ENABLE = 28,
    RAW_COMMON_NOTIFY_OFF = 30,
    RAW_COMMON_DESCRIPTORS = 32,
    RAW_COMMON_DRIVER = 40,
    RAW_COMMON_DEVICE = 48,

    RAW_MMIO_MAGIC = 0x000,
    RAW_MMIO_VERSION = 0x004,
    RAW_MMIO_DEVICE_ID = 0x008,
    RAW_MMIO_VENDOR_ID = 0x00c,
    RAW_MMIO_DEVICE_FEATURES = 0x010,
    RAW_MMIO_DEVICE_SELECT = 0x014,
    RAW_MMIO_DRIVER_FEATURES = 0x020,
    RAW_MMIO_DRIVER_SELECT = 0x024,
    RAW_MMIO_QUEUE_SELECT = 0x030,
    RAW_MMIO_QUEUE_MAX = 0x034,
    RAW_MMIO_QUEUE_SIZE = 0x038,
    RAW_MMIO_QUEUE_READY = 0x044,
    RAW_MMIO_NOTIFY = 0x050,
    RAW_MMIO_INTERRUPT_STATUS = 0x060,
    RAW_MMIO_INTERRUPT_ACK = 0x064,
    RAW_MMIO_STATUS = 0x070,
    RAW_MMIO_DESCRIPTORS = 0x080,
    RAW_MMIO_DRIVER = 0x090,
    RAW_MMIO_DEVICE = 0x0a0,
    RAW_MMIO_MEMORY_SELECT = 0x0ac,
    RAW_MMIO_MEMORY_LENGTH = 0x0b0,
    RAW_MMIO_MEMORY_BASE = 0x0b8,
    RAW_MMIO_QUEUE_RESET = 0x0c0,
    RAW_MMIO_GENERATION = 0x0fc,
    RAW_MMIO_CONFIG = 0x100,

    RAW_READ = 1,
    RAW_WRITE = 2,

    RAW_ENDPOINT = 0x10,
    RAW_OTHER = 0x18,
    RAW_THIRD = 0x20, /* has an MSI window and a reserved region */
    RAW_STRANGER = 0x99,

    RAW_POISON = 0xee,
};

#define RAW_MSI_START      UINT64_C(0x08000000)
#define RAW_MSI_END        UINT64_C(0x080fffff)
#define RAW_RESERVED_START UINT64_C(0x10000000)
#define RAW_RESERVED_END   UINT64_C(0x10000fff)

/*
 * Where the parts of a ring are. Those of a packed ring have the places of those that a split ring
 * has the same registers for.
 */
enum {
    RAW_RING_DRIVER = 0x400, /* the available ring, or the driver's event suppression */
    RAW_RING_DEVICE = 0x600, /* the used ring, or the device's event suppression */
};

struct raw_ring {
    uint64_t base;
    uint16_t available; /* chains that were made available */
    uint16_t seen;      /* used entries that were looked at */
    /*
     * Packed: places in the ring, which never begin anew; descriptors by the numbers that tests
     * give them, to be copied into the ring when their chain is made available; and of how many of
     * them the chain is that has such a number as its id.
     */
    uint64_t next;
    uint64_t next_used;
    uint8_t descriptors[RAW_QUEUE_SIZE][16];
    unsigned int counts[RAW_QUEUE_SIZE];
};

/* Where a transport has what all transports have, and how wide it is. */
struct raw_registers {
    uint64_t device_select;
    uint64_t device_features;
    uint64_t driver_select;
    uint64_t driver_features;
    uint64_t status;
    unsigned int status_width;
    uint64_t queue_select;
    uint64_t queue_max;
    uint64_t queue_size;
    uint64_t queue_enable;
    unsigned int queue_width;
    uint64_t descriptors;
    uint64_t driver;
    uint64_t device;
    uint64_t config;
};

struct raw {
    struct viommu_model_parameters parameters;
    struct viommu_model *model;
    const struct raw_registers *registers;
    struct raw_ring rings[2];
    uint16_t queue_size; /* may be set: of packed rings, 64 at most */
    bool packed;         /* what was negotiated when a queue was set up last */
    /* May be set: called after each write of the device. */
    void (*on_write)(struct raw *raw, uint64_t physical, size_t size);
    uint8_t memory[RAW_MEMORY_SIZE];
};

struct raw_answer {
    uint32_t id;
    uint32_t length;
    uint8_t status;
};

/* ---- bytes --------------------------------------------------------------------------------- */

void raw_put(uint8_t *at, unsigned int size, uint64_t value);
uint64_t raw_get(const uint8_t *at, unsigned int size);
/* Guest memory. */
uint8_t *raw_at(struct raw *raw, uint64_t physical);

/* ---- registers ----------------------------------------------------------------------------- */

/* Any register. */
uint32_t raw_read(struct raw *raw, uint64_t offset, unsigned int width);
void raw_write(struct raw *raw, uint64_t offset, unsigned int width, uint32_t value);
/* The common registers of virtio-pci. */
uint32_t raw_common_read(struct raw *raw, uint64_t offset, unsigned int width);
void raw_common_write(struct raw *raw, uint64_t offset, unsigned int width, uint32_t value);
/* What every transport has. */
uint8_t raw_status(struct raw *raw);
void raw_write_status(struct raw *raw, uint8_t value);
void raw_set_status(struct raw *raw, uint8_t bits);
void raw_notify(struct raw *raw, unsigned int queue);
void raw_write_bypass(struct raw *raw, uint8_t value);
/* Bus mastering and memory decode, or a look at what the device is. */
void raw_enable_device(struct raw *raw);
void raw_write_features(struct raw *raw, uint64_t features);
uint64_t raw_read_features(struct raw *raw);
/* Reset, ACKNOWLEDGE, DRIVER, features. Returns whether FEATURES_OK stayed. */
bool raw_negotiate(struct raw *raw, uint64_t features);
void raw_write_address(struct raw *raw, uint64_t offset, uint64_t value);
/* Queue `number`, with 64 entries unless queue_size says something else. */
void raw_set_queue(struct raw *raw, unsigned int number);
/* All of it, until DRIVER_OK. */
void raw_start_with(struct raw *raw, uint64_t features);
void raw_start(struct raw *raw);

/* ---- rings --------------------------------------------------------------------------------- */

void raw_set_descriptor(struct raw *raw, unsigned int queue, unsigned int id, uint64_t address,
                        uint32_t length, uint16_t flags, uint16_t next);
/* Makes a chain available, by the number of its first descriptor. */
void raw_publish(struct raw *raw, unsigned int queue, unsigned int head);
/* Flags of a descriptor at a place of a packed ring that make it available, or used. */
uint16_t raw_available_flags(const struct raw *raw, uint64_t place, uint16_t flags);
uint16_t raw_used_flags(const struct raw *raw, uint64_t place);
/* Where a descriptor of a packed ring is. */
uint8_t *raw_at_place(struct raw *raw, unsigned int queue, uint64_t place);
/* Takes the next used entry. false: there is none. */
bool raw_next_used(struct raw *raw, unsigned int queue, struct raw_answer *answer);
uint64_t raw_slot_address(unsigned int slot);
/* Puts a request in a slot (descriptors 2 * slot and the next) and makes it available. */
void raw_post(struct raw *raw, unsigned int slot, const uint8_t *request, uint32_t readable,
              uint32_t writable);
/* Posts in slot 0, notifies and returns the answer, which has to be there. */
struct raw_answer raw_ask(struct raw *raw, const uint8_t *request, uint32_t readable,
                          uint32_t writable);

/* ---- requests ------------------------------------------------------------------------------ */

void raw_build_attach(uint8_t *request, uint32_t domain, uint32_t endpoint, uint32_t flags);
void raw_build_detach(uint8_t *request, uint32_t domain, uint32_t endpoint);
void raw_build_map(uint8_t *request, uint32_t domain, uint64_t first, uint64_t last,
                   uint64_t physical, uint32_t flags);
void raw_build_unmap(uint8_t *request, uint32_t domain, uint64_t first, uint64_t last);
/* What the device answers to a request, which must be an honest answer: the status. */
int raw_attach(struct raw *raw, uint32_t domain, uint32_t endpoint, uint32_t flags);
int raw_detach(struct raw *raw, uint32_t domain, uint32_t endpoint);
int raw_map(struct raw *raw, uint32_t domain, uint64_t first, uint64_t last, uint64_t physical,
            uint32_t flags);
int raw_unmap(struct raw *raw, uint32_t domain, uint64_t first, uint64_t last);
struct raw_answer raw_probe(struct raw *raw, uint32_t endpoint);

/* ---- events -------------------------------------------------------------------------------- */

void raw_post_event_buffer(struct raw *raw, unsigned int id, uint32_t size);
void raw_post_event_buffers(struct raw *raw, unsigned int count);
void raw_expect_event(struct raw *raw, uint8_t reason, uint32_t flags, uint32_t endpoint,
                      uint64_t address);

/* ---- the model ----------------------------------------------------------------------------- */

enum viommu_model_verdict raw_verdict(struct raw *raw, uint32_t endpoint, uint64_t iova,
                                      bool write);
/* The test has provoked exactly one violation, whose text contains `part`. */
void raw_expect_violation(struct raw *raw, const char *part);
/* Makes the model anew, with raw->parameters. */
void raw_make_model(struct raw *raw);
int raw_set_up(void **state);
int raw_set_up_mmio(void **state);
int raw_set_up_packed(void **state);
/* A violation that a test did not expect fails it. */
int raw_tear_down(void **state);

/*
 * A test behind one transport; behind each of them; and with packed rings, too: elements of an
 * array of CMUnitTest.
 */
#define RAW_TEST_BEHIND(test, set_up, where)                          \
    {                                                                 \
        .name = #test where, .test_func = test, .setup_func = set_up, \
        .teardown_func = raw_tear_down                                \
    }
#define RAW_TESTS(test) \
    RAW_TEST_BEHIND(test, raw_set_up, ""), RAW_TEST_BEHIND(test, raw_set_up_mmio, " (mmio)")
#define RAW_TESTS_OF_ALL_RINGS(test) \
    RAW_TESTS(test), RAW_TEST_BEHIND(test, raw_set_up_packed, " (packed)")

#endif
