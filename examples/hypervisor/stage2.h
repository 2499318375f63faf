/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef STAGE2_H
#define STAGE2_H

/* A guest's stage-2 tables, made by the library and walked by the CPU. */

#include <piommu/io-pgtable.h>
#include <piommu/requirements.h>

/* What is right for the CPU, and leaves to a domain of the IOMMU what it needs. */
struct stage2_geometry {
    uint32_t granule;
    uint8_t input_bits;
    uint8_t output_bits;
};

/* False: CPU and IOMMU have no granule in common. */
bool stage2_choose(const struct piommu_requirements *requirements,
                   struct stage2_geometry *geometry);

struct stage2 {
    struct piommu_pgtable *table;
    uint64_t vttbr; /* with the VMID */
    uint64_t vtcr;
};

/* The VMID is 1 to 255, another one for each guest. All that follows ends the run if it fails. */
void stage2_create(struct stage2 *stage2, const struct stage2_geometry *geometry, uint8_t vmid);
void stage2_destroy(struct stage2 *stage2);

void stage2_map(struct stage2 *stage2, uint64_t ipa, uint64_t physical, uint64_t size,
                piommu_prot prot);
/* When it returns the CPU has forgotten the range. */
void stage2_unmap(struct stage2 *stage2, uint64_t ipa, uint64_t size);

#endif
