/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The smallest program that can tell whether the headers and the archives of piommu were found. */

#include <piommu/piommu.h>

#include <stdio.h>
#include <string.h>

#ifdef CONSUMER_HAS_FDT
#include <piommu/fdt.h>

#include <stdlib.h>

static void *take(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

static void give(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    free(memory);
}

static int device_tree_reader_works(void)
{
    static const _Alignas(8) unsigned char no_tree[64] = {0};
    static const struct piommu_os os = {.size = sizeof(os), .alloc = take, .free = give};
    const struct piommu_host host = {.os = &os, .ctx = NULL};
    struct piommu_fdt tree;

    return piommu_fdt_open(&tree, host, no_tree, sizeof(no_tree)) == -PIOMMU_EBADMSG;
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
