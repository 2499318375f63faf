/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

/* The bytes of the fuzzer, from which everything is decided; 0 when they are used up. */

#include "front_hostile.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct fuzz_input {
    const uint8_t *bytes;
    size_t left;
};

/* What a hostile guest takes its decisions from. */
struct front_hostile_source fuzz_input_source(struct fuzz_input *input);

#endif
