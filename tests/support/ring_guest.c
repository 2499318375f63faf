/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ring_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool is_memory(uint64_t address, size_t size)
{
    return address >= GUEST && address - GUEST <= GUEST_SIZE &&
           size <= GUEST_SIZE - (address - GUEST);
}

static bool guest_read(void *ctx, uint64_t address, void *buffer, size_t size)
{
    struct guest *guest = ctx;

    if (guest->on_read != NULL) {
        guest->on_read(address, size);
    }
    if (is_memory(address, size)) {
        memcpy(buffer, guest->memory + (address - GUEST), size);
    }
    return is_memory(address, size);
}

static bool guest_write(void *ctx, uint64_t address, const void *buffer, size_t size)
{
    struct guest *guest = ctx;

    if (is_memory(address, size)) {
        memcpy(guest->memory + (address - GUEST), buffer, size);
    }
    return is_memory(address, size);
}

struct guest *guest_open(uint16_t max_size, uint16_t max_pieces)
{
    struct guest *guest = calloc(1, sizeof(*guest));

    assert_non_null(guest);
    guest->os = fake_os_create(NULL);
    guest->access =
        (struct piommu_guest_memory){.read = guest_read, .write = guest_write, .ctx = guest};
    assert_int_equal(piommu_device_ring_create(fake_os_host(guest->os), &guest->access, max_size,
                                               max_pieces, &guest->ring),
                     0);
    return guest;
}

void guest_close(struct guest *guest)
{
    piommu_device_ring_destroy(guest->ring);
    fake_os_destroy(guest->os);
    free(guest);
}

void guest_start(struct guest *guest, const struct piommu_device_ring_config *config)
{
    memset(guest->memory, 0, sizeof(guest->memory));
    assert_int_equal(piommu_device_ring_start(guest->ring, config), 0);
}

void guest_put(struct guest *guest, uint64_t address, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        guest->memory[address - GUEST + i] = (uint8_t)(value >> (8 * i));
    }
}

uint64_t guest_get(const struct guest *guest, uint64_t address, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)guest->memory[address - GUEST + i] << (8 * i);
    }
    return value;
}

void guest_expect_broken(struct guest *guest, const char *what)
{
    struct piommu_device_request request;
    char byte;

    if (piommu_device_ring_take(guest->ring, &request) != -PIOMMU_EIO) {
        fail_msg("%s is taken", what);
    }
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), -PIOMMU_EIO);
    assert_int_equal(piommu_device_ring_read(guest->ring, 0, &byte, 1), 0);
    assert_int_equal(piommu_device_ring_write(guest->ring, 0, "x", 1), 0);
    assert_false(piommu_device_ring_wants_interrupt(guest->ring));
}
