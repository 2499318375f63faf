/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_COMPILER_H
#define PIOMMU_LIB_BASE_COMPILER_H

#include "options.h"

/* What gcc and clang are told for the sake of speed. To be followed by `static` as usual. */

#define ALWAYS_INLINE __attribute__((always_inline)) inline
#define NEVER_INLINE  __attribute__((noinline))

/*
 * A function whose stack its caller is not to keep while it calls others: stays apart where the
 * stack matters more than the code (PIOMMU_WITH_SHALLOW_CALLS), and elsewhere the compiler decides,
 * or, of the other one, it is always inlined.
 */
#if PIOMMU_WITH_SHALLOW_CALLS
#define APART_IF_SHALLOW      NEVER_INLINE
#define OUTLINE_IF_SHALLOW    __attribute__((noinline, unused)) /* in headers */
#define INLINE_IF_SHALLOW     ALWAYS_INLINE
#define INLINE_IF_NOT_SHALLOW NEVER_INLINE
#else
#define APART_IF_SHALLOW
#define OUTLINE_IF_SHALLOW inline
#define INLINE_IF_SHALLOW
#define INLINE_IF_NOT_SHALLOW ALWAYS_INLINE
#endif
#define LIKELY(x)   __builtin_expect((x) != 0, 1)
#define UNLIKELY(x) __builtin_expect((x) != 0, 0)

#endif
