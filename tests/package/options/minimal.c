/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What a host with one IOMMU calls of page tables, and nothing else: for counting what the linker
 * takes from the archive. It is never run.
 */

#include <piommu/io-pgtable.h>

/* All that the archive may want of a C library. */
void *memcpy(void *restrict destination, const void *restrict source, size_t size);
void *memset(void *destination, int value, size_t size);
int memcmp(const void *left, const void *right, size_t size);

void *memcpy(void *restrict destination, const void *restrict source, size_t size)
{
    (void)source;
    (void)size;
    return destination;
}

void *memset(void *destination, int value, size_t size)
{
    (void)value;
    (void)size;
    return destination;
}

int memcmp(const void *left, const void *right, size_t size)
{
    (void)left;
    (void)right;
    (void)size;
    return 0;
}

int minimal(const struct piommu_host *host, const struct piommu_pgtable_config *config,
            uint64_t iova, uint64_t physical, uint64_t size);

int minimal(const struct piommu_host *host, const struct piommu_pgtable_config *config,
            uint64_t iova, uint64_t physical, uint64_t size)
{
    struct piommu_pgtable *table;
    struct piommu_pgtable_info info;
    struct piommu_translation found;
    struct piommu_gather gather;
    uint64_t bytes;
    int error = piommu_pgtable_create(*host, config, &table);

    if (error != 0) {
        return error;
    }
    piommu_gather_init(&gather);
    piommu_pgtable_get_info(table, &info);
    error = piommu_pgtable_map(table, iova, physical, size, PIOMMU_PROT_READ, &bytes);
    if (error == 0) {
        error = piommu_pgtable_lookup(table, iova, &found);
    }
    if (error == 0) {
        error = piommu_pgtable_unmap(table, iova, size, &gather, &bytes);
    }
    piommu_pgtable_detach_empty(table, &gather);
    piommu_pgtable_release(table, &gather);
    piommu_pgtable_destroy(table);
    return error;
}
