/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef RING_GUEST_H
#define RING_GUEST_H

/**
 * @file ring_guest.h
 * A guest's memory, and the device's end of a ring in it. The driver is played by the test, which
 * writes the bytes of the ring.
 */

#include "fake_os.h"

#include <piommu/virtio-device.h>

#define GUEST      0x40000000ull
#define GUEST_SIZE 0x10000u

struct guest {
    struct fake_os *os;
    struct piommu_guest_memory access;
    struct piommu_device_ring *ring;
    uint8_t memory[GUEST_SIZE];
    void (*on_read)(uint64_t address, size_t size); /**< called before; may be NULL */
};

/** Makes a guest and a ring that is not started. */
struct guest *guest_open(uint16_t max_size, uint16_t max_pieces);
void guest_close(struct guest *guest);
/** Empties the memory and starts the ring. */
void guest_start(struct guest *guest, const struct piommu_device_ring_config *config);

/** What lies in memory; all is little-endian. */
void guest_put(struct guest *guest, uint64_t address, uint64_t value, size_t size);
uint64_t guest_get(const struct guest *guest, uint64_t address, size_t size);

/** The ring makes no sense, and from now on says so. */
void guest_expect_broken(struct guest *guest, const char *what);

#endif
