/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The CPU's registers, packed from the fields: for a stage 2 that CPU and IOMMU share, and for
 * letting a CPU walk tables in a test.
 *
 * Source: Arm ARM, TCR_EL1, VTCR_EL2, TTBCR, VTCR.
 */

#include <piommu/io-pgtable.h>

#include "options.h"

static bool is_for(const struct piommu_pgtable_info *info, enum piommu_pgtable_format format,
                   uint32_t half)
{
    return info == NULL || (info->format == format && (info->flags & PIOMMU_PGTABLE_TTBR1) == half);
}

/* Whether the two halves, of which at most one is NULL, can be in force together. */
static bool agree(const struct piommu_pgtable_info *lower, const struct piommu_pgtable_info *upper)
{
    const struct piommu_pgtable_stage1_registers *low;
    const struct piommu_pgtable_stage1_registers *high;

    if (lower == NULL || upper == NULL) {
        return true;
    }
    low = &lower->registers.stage1;
    high = &upper->registers.stage1;
    return low->ips == high->ips && low->ds == high->ds && low->ha == high->ha &&
           low->hd == high->hd;
}

/* IRGN, ORGN and SH, which lie side by side in all of these registers. */
static uint64_t walk_fields(uint8_t irgn, uint8_t orgn, uint8_t sh)
{
    return (uint64_t)irgn | ((uint64_t)orgn << 2) | ((uint64_t)sh << 4);
}

uint64_t piommu_pgtable_tcr_el1(const struct piommu_pgtable_info *lower,
                                const struct piommu_pgtable_info *upper)
{
    const struct piommu_pgtable_info *either = lower != NULL ? lower : upper;
    const struct piommu_pgtable_stage1_registers *common;
    uint64_t tcr = 0;

    if (!built_with_format(PIOMMU_ARM_64_LPAE_S1) || either == NULL ||
        !is_for(lower, PIOMMU_ARM_64_LPAE_S1, 0) ||
        !is_for(upper, PIOMMU_ARM_64_LPAE_S1, PIOMMU_PGTABLE_TTBR1) || !agree(lower, upper)) {
        return 0;
    }
    if (lower != NULL) {
        const struct piommu_pgtable_stage1_registers *stage1 = &lower->registers.stage1;

        tcr |= (uint64_t)stage1->tsz;
        tcr |= walk_fields(stage1->irgn, stage1->orgn, stage1->sh) << 8;
        tcr |= (uint64_t)stage1->tg << 14;
    } else {
        tcr |= 1ull << 7; /* EPD0 */
    }
    if (upper != NULL) {
        const struct piommu_pgtable_stage1_registers *stage1 = &upper->registers.stage1;

        tcr |= (uint64_t)stage1->tsz << 16;
        tcr |= walk_fields(stage1->irgn, stage1->orgn, stage1->sh) << 24;
        tcr |= (uint64_t)stage1->tg << 30;
    } else {
        tcr |= 1ull << 23; /* EPD1 */
    }
    common = &either->registers.stage1;
    return tcr | ((uint64_t)common->ips << 32) | ((uint64_t)common->ha << 39) |
           ((uint64_t)common->hd << 40) | ((uint64_t)common->ds << 59);
}

uint64_t piommu_pgtable_vtcr_el2(const struct piommu_pgtable_info *info)
{
    const struct piommu_pgtable_stage2_registers *stage2 = &info->registers.stage2;
    const uint64_t reserved_as_one = 1ull << 31;

    if (!built_with_format(PIOMMU_ARM_64_LPAE_S2) || info->format != PIOMMU_ARM_64_LPAE_S2) {
        return 0;
    }
    return (uint64_t)stage2->tsz | ((uint64_t)stage2->sl << 6) |
           (walk_fields(stage2->irgn, stage2->orgn, stage2->sh) << 8) |
           ((uint64_t)stage2->tg << 14) | ((uint64_t)stage2->ps << 16) |
           ((uint64_t)stage2->ha << 21) | ((uint64_t)stage2->hd << 22) | reserved_as_one |
           ((uint64_t)stage2->ds << 32) | ((uint64_t)stage2->sl2 << 33);
}

uint32_t piommu_pgtable_ttbcr(const struct piommu_pgtable_info *lower,
                              const struct piommu_pgtable_info *upper)
{
    uint32_t ttbcr = 1u << 31; /* EAE: long descriptors */

    if (!built_with_format(PIOMMU_ARM_32_LPAE_S1) || (lower == NULL && upper == NULL) ||
        !is_for(lower, PIOMMU_ARM_32_LPAE_S1, 0) ||
        !is_for(upper, PIOMMU_ARM_32_LPAE_S1, PIOMMU_PGTABLE_TTBR1)) {
        return 0;
    }
    if (lower != NULL) {
        const struct piommu_pgtable_stage1_registers *stage1 = &lower->registers.stage1;

        ttbcr |= stage1->tsz;
        ttbcr |= (uint32_t)walk_fields(stage1->irgn, stage1->orgn, stage1->sh) << 8;
    } else {
        ttbcr |= 1u << 7; /* EPD0 */
    }
    if (upper != NULL) {
        const struct piommu_pgtable_stage1_registers *stage1 = &upper->registers.stage1;

        ttbcr |= (uint32_t)stage1->tsz << 16;
        ttbcr |= (uint32_t)walk_fields(stage1->irgn, stage1->orgn, stage1->sh) << 24;
    } else {
        ttbcr |= 1u << 23; /* EPD1 */
    }
    return ttbcr;
}

uint32_t piommu_pgtable_vtcr(const struct piommu_pgtable_info *info)
{
    const struct piommu_pgtable_stage2_registers *stage2 = &info->registers.stage2;
    const uint32_t reserved_as_one = 1u << 31;

    if (!built_with_format(PIOMMU_ARM_32_LPAE_S2) || info->format != PIOMMU_ARM_32_LPAE_S2) {
        return 0;
    }
    return (uint32_t)stage2->tsz | ((uint32_t)stage2->sl << 6) |
           ((uint32_t)walk_fields(stage2->irgn, stage2->orgn, stage2->sh) << 8) | reserved_as_one;
}
