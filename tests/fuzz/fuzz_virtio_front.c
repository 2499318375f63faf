/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A guest that the fuzzer leads, at the registers of a device that the library shows it, over both
 * transports: front_hostile.h says what must not happen.
 */

#include "fuzz_input.h"

#define MAX_STEPS 400u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz_input input = {.bytes = bytes, .left = size};
    const struct front_hostile_source source = fuzz_input_source(&input);
    struct front_hostile_result result = {0};
    uint32_t choice = source.random(source.ctx, 1);
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
