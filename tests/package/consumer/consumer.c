/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The smallest program that can tell whether the headers and the archives of piommu were found. */

#include <piommu/piommu.h>

#include <stdio.h>
#include <string.h>

#ifdef CONSUMER_HAS_FDT
#include <piommu/fdt.h>

static int device_tree_reader_works(void)
{
    static const _Alignas(8) unsigned char no_tree[64] = {0};
    struct piommu_fdt tree;

    return piommu_fdt_open(&tree, no_tree, sizeof(no_tree)) == -PIOMMU_EBADMSG;
}
#else
static int device_tree_reader_works(void)
{
    return 1;
}
#endif

int main(void)
{
    printf("piommu %s: %s\n", piommu_version(), piommu_strerror(-PIOMMU_ENOMEM));
    return strcmp(piommu_version(), PIOMMU_VERSION_STRING) == 0 && device_tree_reader_works() ? 0
                                                                                              : 1;
}
