/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef STDLIB_H
#define STDLIB_H

/* libfdt.h includes <stdlib.h>, but what this image uses of libfdt needs nothing from it. */

#include <stddef.h>

#endif
