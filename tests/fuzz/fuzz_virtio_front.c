/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A guest that the fuzzer leads, at the registers of a device that the library shows it, over both
 * transports: front_hostile.h says what must not happen.
 */

#include "front_hostile.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define MAX_STEPS 400u

struct input {
    const uint8_t *bytes;
    size_t left;
};

static uint32_t next(void *ctx, unsigned int bytes)
{
    struct input *input = ctx;
    uint32_t value = 0;

    for (unsigned int i = 0; i < bytes && input->left != 0; i++) {
        value |= (uint32_t)*input->bytes << (8 * i);
        input->bytes++;
        input->left--;
    }
    return value;
}

static bool more(void *ctx)
{
    const struct input *input = ctx;

    return input->left != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input input = {.bytes = bytes, .left = size};
    const struct front_hostile_source source = {.random = next, .more = more, .ctx = &input};
    struct front_hostile_result result = {0};
    uint32_t choice = next(&input, 1);
    const struct front_machine_options options = {
        .pci = (choice & 1) != 0,
        .features = 0x7 | (uint64_t)(choice >> 1 & 3) << 28 |
                    ((choice & 8) != 0 ? PIOMMU_VIRTIO_F_RING_PACKED : 0),
        .message_count = (choice & 16) != 0 ? 4 : 0,
        .interrupt_pin = (choice & 32) != 0 ? 1 : 0,
    };

    front_hostile_run(&options, &source, MAX_STEPS, &result);
    return 0;
}
