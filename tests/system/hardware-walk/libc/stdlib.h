/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef STDLIB_H
#define STDLIB_H

/* What the software walker calls; memory.c has it. */

#include <stddef.h>

void *calloc(size_t count, size_t size);
void free(void *memory);

#endif
