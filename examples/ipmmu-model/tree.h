/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef TREE_H
#define TREE_H

/* Device tree blobs, as malloc gives memory. */

#include <stddef.h>

/* The part of an R-Car H3 that the demonstration needs. NULL: no memory. */
void *tree_build(size_t *size);

/* A file. NULL, after saying why on stderr, if it cannot be read. */
void *tree_read(const char *name, size_t *size);

#endif
