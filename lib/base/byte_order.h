/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_BYTE_ORDER_H
#define PIOMMU_LIB_BASE_BYTE_ORDER_H

/* Conversion between the host's byte order and the little-endian order of tables and rings. */

#include <stdint.h>

#if !defined(__BYTE_ORDER__)
#error "the compiler does not tell the byte order"
#elif __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__

static inline uint16_t piommu_le16(uint16_t value)
{
    return (uint16_t)((value >> 8) | (value << 8));
}

static inline uint32_t piommu_le32(uint32_t value)
{
    return __builtin_bswap32(value);
}

static inline uint64_t piommu_le64(uint64_t value)
{
    /* Two halves: some targets would call the compiler's run-time library for a 64-bit swap. */
    return ((uint64_t)__builtin_bswap32((uint32_t)value) << 32) |
           __builtin_bswap32((uint32_t)(value >> 32));
}

#else

static inline uint16_t piommu_le16(uint16_t value)
{
    return value;
}

static inline uint32_t piommu_le32(uint32_t value)
{
    return value;
}

static inline uint64_t piommu_le64(uint64_t value)
{
    return value;
}

#endif

/* Byte-wise access for packed or unaligned structures. */

static inline uint16_t piommu_get_le16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | (bytes[1] << 8));
}

static inline uint32_t piommu_get_le32(const uint8_t *bytes)
{
    return (uint32_t)piommu_get_le16(bytes) | ((uint32_t)piommu_get_le16(bytes + 2) << 16);
}

static inline uint64_t piommu_get_le64(const uint8_t *bytes)
{
    return (uint64_t)piommu_get_le32(bytes) | ((uint64_t)piommu_get_le32(bytes + 4) << 32);
}

static inline void piommu_put_le32(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
    bytes[2] = (uint8_t)(value >> 16);
    bytes[3] = (uint8_t)(value >> 24);
}

static inline void piommu_put_le64(uint8_t *bytes, uint64_t value)
{
    piommu_put_le32(bytes, (uint32_t)value);
    piommu_put_le32(bytes + 4, (uint32_t)(value >> 32));
}

#endif
