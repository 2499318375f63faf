/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_OPTIONS_H
#define PIOMMU_LIB_IO_PGTABLE_OPTIONS_H

/*
 * What of page tables is built: formats, granules, kinds, and ways of doing things.
 *
 * Everything is, unless one of the macros below is defined as 0 for all files of the library, by
 * hand (-DPIOMMU_PGTABLE_WITH_16K=0) or by CMake's PIOMMU_PGTABLE_FORMATS, _GRANULES and _DISJOINT.
 * A table with what is not built cannot be created. So everywhere else the
 * questions that this file answers are constants as far as possible, and code for what is not built
 * folds away: `if (!format_is_stage1(format))` is nothing in a build without stage 2.
 */

#include <stdbool.h>
#include <stdint.h>

#include <piommu/io-pgtable.h>

/* Formats: 64-bit and 32-bit descriptors, stage 1 and stage 2. */
#ifndef PIOMMU_PGTABLE_WITH_64_S1
#define PIOMMU_PGTABLE_WITH_64_S1 1
#endif
#ifndef PIOMMU_PGTABLE_WITH_64_S2
#define PIOMMU_PGTABLE_WITH_64_S2 1
#endif
#ifndef PIOMMU_PGTABLE_WITH_32_S1
#define PIOMMU_PGTABLE_WITH_32_S1 1
#endif
#ifndef PIOMMU_PGTABLE_WITH_32_S2
#define PIOMMU_PGTABLE_WITH_32_S2 1
#endif

/* Granules. The 32-bit formats have 4 KiB alone. */
#ifndef PIOMMU_PGTABLE_WITH_4K
#define PIOMMU_PGTABLE_WITH_4K 1
#endif
#ifndef PIOMMU_PGTABLE_WITH_16K
#define PIOMMU_PGTABLE_WITH_16K 1
#endif
#ifndef PIOMMU_PGTABLE_WITH_64K
#define PIOMMU_PGTABLE_WITH_64K 1
#endif

/*
 * The short ways of map, unmap and lookup (quick.h), which cost memory and save time. Who compiles
 * for size has decided; -DPIOMMU_PGTABLE_WITH_SHORT_WAYS=1 decides otherwise.
 */
#ifndef PIOMMU_PGTABLE_WITH_SHORT_WAYS
#ifdef __OPTIMIZE_SIZE__
#define PIOMMU_PGTABLE_WITH_SHORT_WAYS 0
#else
#define PIOMMU_PGTABLE_WITH_SHORT_WAYS 1
#endif
#endif

/* Disjoint tables, where the host has them at all. */
#ifndef PIOMMU_PGTABLE_WITH_DISJOINT
#define PIOMMU_PGTABLE_WITH_DISJOINT 1
#endif

#if !PIOMMU_PGTABLE_WITH_64_S1 && !PIOMMU_PGTABLE_WITH_64_S2 && !PIOMMU_PGTABLE_WITH_32_S1 && \
    !PIOMMU_PGTABLE_WITH_32_S2
#error "piommu: the PIOMMU_PGTABLE_WITH_* leave no format"
#endif
#if !PIOMMU_PGTABLE_WITH_4K && !PIOMMU_PGTABLE_WITH_16K && !PIOMMU_PGTABLE_WITH_64K
#error "piommu: the PIOMMU_PGTABLE_WITH_* leave no granule"
#endif
#if (PIOMMU_PGTABLE_WITH_32_S1 || PIOMMU_PGTABLE_WITH_32_S2) && !PIOMMU_PGTABLE_WITH_4K
#error "piommu: the 32-bit formats need PIOMMU_PGTABLE_WITH_4K"
#endif

/* Sets of formats: bit F is the format with that number. */
#define FORMAT_64_S1   (1u << PIOMMU_ARM_64_LPAE_S1)
#define FORMAT_64_S2   (1u << PIOMMU_ARM_64_LPAE_S2)
#define FORMAT_32_S1   (1u << PIOMMU_ARM_32_LPAE_S1)
#define FORMAT_32_S2   (1u << PIOMMU_ARM_32_LPAE_S2)
#define FORMATS_STAGE1 (FORMAT_64_S1 | FORMAT_32_S1)
#define FORMATS_32BIT  (FORMAT_32_S1 | FORMAT_32_S2)
#define FORMATS_BUILT                                  \
    ((PIOMMU_PGTABLE_WITH_64_S1 ? FORMAT_64_S1 : 0u) | \
     (PIOMMU_PGTABLE_WITH_64_S2 ? FORMAT_64_S2 : 0u) | \
     (PIOMMU_PGTABLE_WITH_32_S1 ? FORMAT_32_S1 : 0u) | \
     (PIOMMU_PGTABLE_WITH_32_S2 ? FORMAT_32_S2 : 0u))

/* A set of granules is their sum. */
#define GRANULE_4K  0x1000u
#define GRANULE_16K 0x4000u
#define GRANULE_64K 0x10000u
#define GRANULES_BUILT                                                                           \
    ((PIOMMU_PGTABLE_WITH_4K ? GRANULE_4K : 0u) | (PIOMMU_PGTABLE_WITH_16K ? GRANULE_16K : 0u) | \
     (PIOMMU_PGTABLE_WITH_64K ? GRANULE_64K : 0u))

static inline bool built_with_format(enum piommu_pgtable_format format)
{
    unsigned int number = (unsigned int)format;

    return number <= PIOMMU_ARM_32_LPAE_S2 && ((FORMATS_BUILT >> number) & 1) != 0;
}

/* Any size may be asked for; those that are no granule are not built. */
static inline bool built_with_granule(uint64_t size)
{
    return (size & (size - 1)) == 0 && (size & GRANULES_BUILT) != 0;
}

/* Whether a format that is built is in a set. */
static inline bool format_is_among(enum piommu_pgtable_format format, unsigned int set)
{
    if ((FORMATS_BUILT & ~set) == 0) {
        return true;
    }
    return (((FORMATS_BUILT & set) >> (unsigned int)format) & 1) != 0;
}

static inline bool format_is_stage1(enum piommu_pgtable_format format)
{
    return format_is_among(format, FORMATS_STAGE1);
}

static inline bool format_is_32bit(enum piommu_pgtable_format format)
{
    return format_is_among(format, FORMATS_32BIT);
}

/* Whether a granule that is built is this one, of the constants above. */
static inline bool granule_is(uint64_t granule, uint32_t size)
{
    if (GRANULES_BUILT == size) {
        return true;
    }
    return (GRANULES_BUILT & size) != 0 && granule == size;
}

#endif
