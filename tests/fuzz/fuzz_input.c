/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "fuzz_input.h"

uint32_t fuzz_input_next(void *ctx, unsigned int bytes)
{
    struct fuzz_input *input = ctx;
    uint32_t value = 0;

    for (unsigned int i = 0; i < bytes && input->left != 0; i++) {
        value |= (uint32_t)*input->bytes << (8 * i);
        input->bytes++;
        input->left--;
    }
    return value;
}

bool fuzz_input_more(void *ctx)
{
    const struct fuzz_input *input = ctx;

    return input->left != 0;
}
