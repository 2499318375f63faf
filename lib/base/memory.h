/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_MEMORY_H
#define PIOMMU_LIB_BASE_MEMORY_H

/*
 * The only functions of a C library that the freestanding code uses; compilers emit calls of them
 * too.
 */

#include <stddef.h>

void *memcpy(void *restrict destination, const void *restrict source, size_t size);
void *memset(void *destination, int value, size_t size);
void *memmove(void *destination, const void *source, size_t size);
int memcmp(const void *left, const void *right, size_t size);

#endif
