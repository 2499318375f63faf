/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef WITHOUT_H
#define WITHOUT_H

/**
 * @file without.h
 * Tests that are linked with a library that lacks features. The environment says which:
 * PIOMMU_WITHOUT, words as in lib/base/options.h ("tables pci packed").
 */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/** Whether the library was built without a feature. */
static inline bool is_without(const char *feature)
{
    const char *all = getenv("PIOMMU_WITHOUT");

    return all != NULL && strstr(all, feature) != NULL;
}

#endif
