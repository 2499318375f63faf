/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Where registers are, and which parts there are: data. */

#include "unit.h"

/* The first number of the upper half of the contexts, and how much higher that half lies. */
#define UPPER_CONTEXT  8u
#define UPPER_GAP      0x600u
#define MICRO_TLB      0x300u
#define UPPER_TLB      32u
#define UPPER_TLB_BASE 0x600u
#define TLB_STRIDE     16u

static const struct ipmmu_class gen2 = {
    .alias = 0x800,
    .context_stride = 0x40,
    .size = 0x1000,
    .stage1_ttbcr = 0x80003510, /* EAE, walks inner shareable, write-back, start at level 1 */
    .contexts = 4,
    .default_contexts = 1, /* nobody has used more */
    .micro_tlbs = 32,
    .has_bus_select = true,
};

static const struct ipmmu_class gen3 = {
    .context_stride = 0x40,
    .size = 0x1000,
    .stage1_ttbcr = 0x80000080, /* EAE, start at level 1; walks do not snoop, whatever it says */
    .contexts = 8,
    .default_contexts = 8,
    .first_context = 1,
    .micro_tlbs = 48,
    .has_caches = true,
    .has_high_address = true,
};

static const struct ipmmu_class gen4 = {
    .context_base = 0x10000,
    .context_stride = 0x1040,
    .micro_tlb_base = 0x3000,
    .control_base = 0x1000,
    .size = 0x20000,
    .stage1_ttbcr = 0x80000080,
    .contexts = 16,
    .default_contexts = 16,
    .first_context = 1,
    .micro_tlbs = 64,
    .has_caches = true,
    .has_high_address = true,
};

/* What some products of a part can do, or have to: which ones, their product register tells. */
#define STAGE2  PIOMMU_IPMMU_PART_STAGE2
#define ERRATUM PIOMMU_IPMMU_PART_ERRATUM

/* Specific names before the fallbacks, so that the first that a node has is the best. */
static const struct ipmmu_part parts[] = {
    {"renesas,ipmmu-r8a774a1", &gen3, 0},                /* RZ/G2M */
    {"renesas,ipmmu-r8a774b1", &gen3, ERRATUM},          /* RZ/G2N */
    {"renesas,ipmmu-r8a774c0", &gen3, ERRATUM},          /* RZ/G2E */
    {"renesas,ipmmu-r8a774e1", &gen3, 0},                /* RZ/G2H */
    {"renesas,ipmmu-r8a7795", &gen3, STAGE2 | ERRATUM},  /* R-Car H3 */
    {"renesas,ipmmu-r8a7796", &gen3, STAGE2},            /* R-Car M3-W */
    {"renesas,ipmmu-r8a77961", &gen3, STAGE2},           /* R-Car M3-W+ */
    {"renesas,ipmmu-r8a77965", &gen3, STAGE2 | ERRATUM}, /* R-Car M3-N */
    {"renesas,ipmmu-r8a77970", &gen3, 0},                /* R-Car V3M */
    {"renesas,ipmmu-r8a77980", &gen3, 0},                /* R-Car V3H */
    {"renesas,ipmmu-r8a77990", &gen3, ERRATUM},          /* R-Car E3 */
    {"renesas,ipmmu-r8a77995", &gen3, 0},                /* R-Car D3 */
    {"renesas,ipmmu-r8a779a0", &gen4, 0},                /* R-Car V3U */
    {"renesas,ipmmu-r8a779f0", &gen4, STAGE2},           /* R-Car S4-8 */
    {"renesas,ipmmu-r8a779g0", &gen4, STAGE2},           /* R-Car V4H */
    {"renesas,ipmmu-r8a779h0", &gen4, 0},                /* R-Car V4M */
    {"renesas,rcar-gen4-ipmmu-vmsa", &gen4, 0},
    {"renesas,ipmmu-vmsa", &gen2, 0}, /* R-Mobile APE6, R-Car Gen2, RZ/G1 */
};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

const char *const piommu_ipmmu_compatible_[] = {
    "renesas,ipmmu-r8a774a1",
    "renesas,ipmmu-r8a774b1",
    "renesas,ipmmu-r8a774c0",
    "renesas,ipmmu-r8a774e1",
    "renesas,ipmmu-r8a7795",
    "renesas,ipmmu-r8a7796",
    "renesas,ipmmu-r8a77961",
    "renesas,ipmmu-r8a77965",
    "renesas,ipmmu-r8a77970",
    "renesas,ipmmu-r8a77980",
    "renesas,ipmmu-r8a77990",
    "renesas,ipmmu-r8a77995",
    "renesas,ipmmu-r8a779a0",
    "renesas,ipmmu-r8a779f0",
    "renesas,ipmmu-r8a779g0",
    "renesas,ipmmu-r8a779h0",
    "renesas,rcar-gen4-ipmmu-vmsa",
    "renesas,ipmmu-vmsa",
    NULL,
};

static bool same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

const struct ipmmu_part *piommu_ipmmu_find_part_(const char *compatible)
{
    for (size_t i = 0; compatible != NULL && i < PARTS; i++) {
        if (same(parts[i].compatible, compatible)) {
            return &parts[i];
        }
    }
    return NULL;
}

/* What is known of silicon, by its product register: cut 0x00 is ES1.0, 0x10 ES2.0. */
static const struct {
    uint8_t product;
    uint8_t first_stage2; /* the first cut that can walk stage-2 tables; 0: all can */
    uint8_t last_erratum; /* the last cut whose cache units translate wrongly; 0: none does */
} products[] = {
    {0x4f, 0x20, 0x1f}, /* H3, RZ/G2H */
    {0x52, 0x20, 0},    /* M3-W, M3-W+, RZ/G2M */
    {0x55, 0, 0x0f},    /* M3-N, RZ/G2N */
    {0x57, 0xff, 0x0f}, /* E3, RZ/G2E */
    {0x5a, 0, 0},       /* S4 */
    {0x5c, 0, 0},       /* V4H */
};

#define PRODUCTS (sizeof(products) / sizeof(products[0]))

/* The row of a product, or PRODUCTS. */
static size_t find_product(uint32_t product)
{
    size_t i = 0;

    while (i < PRODUCTS && products[i].product != ((product >> 8) & 0x7fu)) {
        i++;
    }
    return i;
}

bool piommu_ipmmu_can_stage2_(const struct ipmmu_part *part, uint32_t product)
{
    size_t i = find_product(product);

    return (part->flags & STAGE2) != 0 && i < PRODUCTS &&
           (product & 0xffu) >= products[i].first_stage2;
}

bool piommu_ipmmu_has_erratum_(const struct ipmmu_part *part, uint32_t product)
{
    size_t i = find_product(product);

    return (part->flags & ERRATUM) != 0 &&
           (product == 0 || (i < PRODUCTS && products[i].last_erratum != 0 &&
                             (product & 0xffu) <= products[i].last_erratum));
}

static uint32_t read(const struct ipmmu_unit *unit, uint32_t offset)
{
    return unit->host.os->mmio_read(unit->host.ctx, unit->base + unit->class->alias + offset, 4);
}

static void write(const struct ipmmu_unit *unit, uint32_t offset, uint32_t value)
{
    unit->host.os->mmio_write(unit->host.ctx, unit->base + unit->class->alias + offset, 4, value);
}

static uint32_t context_offset(const struct ipmmu_unit *unit, unsigned int context)
{
    return unit->class->context_base + context * unit->class->context_stride +
           (context >= UPPER_CONTEXT ? UPPER_GAP : 0);
}

static uint32_t micro_tlb_offset(const struct ipmmu_unit *unit, unsigned int micro_tlb)
{
    return unit->class->micro_tlb_base +
           (micro_tlb < UPPER_TLB ? MICRO_TLB + micro_tlb * TLB_STRIDE
                                  : UPPER_TLB_BASE + (micro_tlb - UPPER_TLB) * TLB_STRIDE);
}

uint32_t piommu_ipmmu_read_context_(const struct ipmmu_unit *unit, unsigned int context,
                                    uint32_t offset)
{
    return read(unit, context_offset(unit, context) + offset);
}

void piommu_ipmmu_write_context_(const struct ipmmu_unit *unit, unsigned int context,
                                 uint32_t offset, uint32_t value)
{
    write(unit, context_offset(unit, context) + offset, value);
}

uint32_t piommu_ipmmu_read_micro_tlb_(const struct ipmmu_unit *unit, unsigned int micro_tlb,
                                      uint32_t offset)
{
    return read(unit, micro_tlb_offset(unit, micro_tlb) + offset);
}

void piommu_ipmmu_write_micro_tlb_(const struct ipmmu_unit *unit, unsigned int micro_tlb,
                                   uint32_t offset, uint32_t value)
{
    write(unit, micro_tlb_offset(unit, micro_tlb) + offset, value);
}

void piommu_ipmmu_change_control_(const struct ipmmu_unit *unit, uint32_t offset, uint32_t clear,
                                  uint32_t set)
{
    uint32_t at = unit->class->control_base + offset;

    write(unit, at, (read(unit, at) & ~clear) | set);
}
