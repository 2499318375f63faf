/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A guest that the fuzzer leads, at the rings of a virtio-iommu that the library offers it:
 * requests, their framing, and bytes of the rings. viommu_hostile.h says what must not happen.
 */

#include "fuzz_input.h"
#include "viommu_hostile.h"

#define MAX_STEPS 300u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz_input input = {.bytes = bytes, .left = size};
    const struct front_hostile_source source = fuzz_input_source(&input);
    struct viommu_hostile_result result = {0};

    viommu_hostile_run(&source, false, MAX_STEPS, &result);
    return 0;
}
