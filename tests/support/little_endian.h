/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Words as they are in memory that hardware reads, whatever the host's byte order. */
#ifndef PIOMMU_TESTS_LITTLE_ENDIAN_H
#define PIOMMU_TESTS_LITTLE_ENDIAN_H

#include <stdint.h>

/* Written out, because compilers then make one load of it: models do little else than this. */
static inline uint64_t little_endian_word(const uint8_t *bytes)
{
    return (uint64_t)bytes[0] | (uint64_t)bytes[1] << 8 | (uint64_t)bytes[2] << 16 |
           (uint64_t)bytes[3] << 24 | (uint64_t)bytes[4] << 32 | (uint64_t)bytes[5] << 40 |
           (uint64_t)bytes[6] << 48 | (uint64_t)bytes[7] << 56;
}

#endif
