/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

/* The bytes of the fuzzer, from which everything is decided; 0 when they are used up. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct fuzz_input {
    const uint8_t *bytes;
    size_t left;
};

/* The next so many bytes as a number; `ctx` is the input. */
uint32_t fuzz_input_next(void *ctx, unsigned int bytes);
bool fuzz_input_more(void *ctx);

#endif
