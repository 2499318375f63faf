/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "fuzz_input.h"

static uint32_t next(void *ctx, unsigned int bytes)
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

static bool more(void *ctx)
{
    const struct fuzz_input *input = ctx;

    return input->left != 0;
}

struct front_hostile_source fuzz_input_source(struct fuzz_input *input)
{
    return (struct front_hostile_source){.random = next, .more = more, .ctx = input};
}
