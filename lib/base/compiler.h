/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_COMPILER_H
#define PIOMMU_LIB_BASE_COMPILER_H

/* What gcc and clang are told for the sake of speed. To be followed by `static` as usual. */

#define ALWAYS_INLINE __attribute__((always_inline)) inline
#define NEVER_INLINE  __attribute__((noinline))
#define LIKELY(x)     __builtin_expect((x) != 0, 1)
#define UNLIKELY(x)   __builtin_expect((x) != 0, 0)

#endif
