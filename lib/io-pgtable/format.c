/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * VMSAv8-64 stage 1 and stage 2 with a 4 KiB granule: geometry, attribute bits, register values.
 *
 * Source: Arm ARM, VMSAv8-64: "Translation table level 3 descriptor formats", "Stage 2 memory
 * region attributes", "Concatenated translation tables", TCR_EL1, VTCR_EL2, MAIR_EL1.
 */

#include "pgtable.h"

#define PAGE_SHIFT 12u
#define INDEX_BITS 9u

/* Both stages. */
#define LEAF_SHAREABILITY_OUTER (2ull << 8)
#define LEAF_SHAREABILITY_INNER (3ull << 8)
#define LEAF_ACCESS_FLAG        (1ull << 10)

/* Stage 1. */
#define LEAF_S1_ATTRIBUTE_SHIFT    2
#define LEAF_S1_ATTRIBUTE_MASK     (7ull << LEAF_S1_ATTRIBUTE_SHIFT)
#define LEAF_S1_UNPRIVILEGED       (1ull << 6) /* AP[1] */
#define LEAF_S1_READ_ONLY          (1ull << 7) /* AP[2] */
#define LEAF_S1_NOT_GLOBAL         (1ull << 11)
#define LEAF_S1_PRIVILEGED_NO_EXEC (1ull << 53)
#define LEAF_S1_NO_EXEC            (1ull << 54)

/* Slots of MAIR. */
#define MEMORY_NONCACHEABLE 0u
#define MEMORY_CACHEABLE    1u
#define MEMORY_DEVICE       2u
/* Slot 0: Normal non-cacheable 0x44; slot 1: Normal write-back 0xff; slot 2: Device-nGnRE 0x04. */
#define MAIR_VALUE 0x000000000004ff44ull

/* Stage 2. */
#define LEAF_S2_READ         (1ull << 6)
#define LEAF_S2_WRITE        (1ull << 7)
#define LEAF_S2_MEMORY_SHIFT 2
#define LEAF_S2_MEMORY_MASK  (0xfull << LEAF_S2_MEMORY_SHIFT)
#define LEAF_S2_CACHEABLE    (0xfull << LEAF_S2_MEMORY_SHIFT)
#define LEAF_S2_NONCACHEABLE (0x5ull << LEAF_S2_MEMORY_SHIFT)
#define LEAF_S2_DEVICE       (0x1ull << LEAF_S2_MEMORY_SHIFT)
/*
 * XN[1:0] = 10 forbids execution at every exception level. 11 would still let the privileged side
 * execute where FEAT_XNX is implemented.
 */
#define LEAF_S2_NO_EXEC (2ull << 53)

/* Attributes of the walk itself. */
#define WALK_NONCACHEABLE    0u
#define WALK_WRITE_BACK      1u
#define WALK_OUTER_SHAREABLE 2u
#define WALK_INNER_SHAREABLE 3u

#define MIN_INPUT_BITS 25u /* without FEAT_TTST */
#define MAX_INPUT_BITS 48u

static bool is_device(piommu_prot prot)
{
    return (prot & PIOMMU_PROT_DEVICE) != 0;
}

static bool is_cacheable(piommu_prot prot)
{
    return (prot & (PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE)) == 0;
}

/* The attribute bits of a stage-1 leaf, or 0 if it cannot express the prot. */
static uint64_t stage1_attributes(piommu_prot prot)
{
    uint64_t attributes = LEAF_ACCESS_FLAG | LEAF_S1_NOT_GLOBAL;
    unsigned int memory = is_device(prot)      ? MEMORY_DEVICE
                          : is_cacheable(prot) ? MEMORY_CACHEABLE
                                               : MEMORY_NONCACHEABLE;

    /* Stage 1 always lets somebody read. */
    if ((prot & PIOMMU_PROT_READ) == 0) {
        return 0;
    }
    attributes |= (uint64_t)memory << LEAF_S1_ATTRIBUTE_SHIFT;
    attributes |= is_cacheable(prot) ? LEAF_SHAREABILITY_INNER : LEAF_SHAREABILITY_OUTER;
    if ((prot & PIOMMU_PROT_PRIVILEGED) == 0) {
        attributes |= LEAF_S1_UNPRIVILEGED;
    }
    if ((prot & PIOMMU_PROT_WRITE) == 0) {
        attributes |= LEAF_S1_READ_ONLY;
    }
    /*
     * Execution is for the side that the mapping is for. Unprivileged mappings are never executable
     * by the privileged side: what an unprivileged transaction can write, hardware refuses to
     * execute there anyway.
     */
    if ((prot & PIOMMU_PROT_EXECUTE) == 0) {
        attributes |= LEAF_S1_NO_EXEC | LEAF_S1_PRIVILEGED_NO_EXEC;
    } else if ((prot & PIOMMU_PROT_PRIVILEGED) != 0) {
        attributes |= LEAF_S1_NO_EXEC;
    } else {
        attributes |= LEAF_S1_PRIVILEGED_NO_EXEC;
    }
    return attributes;
}

/* The attribute bits of a stage-2 leaf, or 0 if it cannot express the prot. */
static uint64_t stage2_attributes(piommu_prot prot)
{
    uint64_t attributes = LEAF_ACCESS_FLAG;

    /* Stage 2 does not tell privileged from unprivileged data accesses. */
    if ((prot & PIOMMU_PROT_PRIVILEGED) != 0) {
        return 0;
    }
    if (is_device(prot)) {
        attributes |= LEAF_S2_DEVICE | LEAF_SHAREABILITY_OUTER;
    } else if (is_cacheable(prot)) {
        attributes |= LEAF_S2_CACHEABLE | LEAF_SHAREABILITY_INNER;
    } else {
        attributes |= LEAF_S2_NONCACHEABLE | LEAF_SHAREABILITY_OUTER;
    }
    if ((prot & PIOMMU_PROT_READ) != 0) {
        attributes |= LEAF_S2_READ;
    }
    if ((prot & PIOMMU_PROT_WRITE) != 0) {
        attributes |= LEAF_S2_WRITE;
    }
    if ((prot & PIOMMU_PROT_EXECUTE) == 0) {
        attributes |= LEAF_S2_NO_EXEC;
    }
    return attributes;
}

static piommu_prot stage1_prot(uint64_t descriptor)
{
    unsigned int memory =
        (unsigned int)((descriptor & LEAF_S1_ATTRIBUTE_MASK) >> LEAF_S1_ATTRIBUTE_SHIFT);
    piommu_prot prot = PIOMMU_PROT_READ;
    uint64_t no_exec = LEAF_S1_PRIVILEGED_NO_EXEC;

    if ((descriptor & LEAF_S1_READ_ONLY) == 0) {
        prot |= PIOMMU_PROT_WRITE;
    }
    if ((descriptor & LEAF_S1_UNPRIVILEGED) == 0) {
        prot |= PIOMMU_PROT_PRIVILEGED;
    } else {
        no_exec = LEAF_S1_NO_EXEC;
    }
    if ((descriptor & no_exec) == 0) {
        prot |= PIOMMU_PROT_EXECUTE;
    }
    if (memory == MEMORY_DEVICE) {
        prot |= PIOMMU_PROT_DEVICE;
    } else if (memory == MEMORY_NONCACHEABLE) {
        prot |= PIOMMU_PROT_NONCACHEABLE;
    }
    return prot;
}

static piommu_prot stage2_prot(uint64_t descriptor)
{
    uint64_t memory = descriptor & LEAF_S2_MEMORY_MASK;
    piommu_prot prot = 0;

    if ((descriptor & LEAF_S2_READ) != 0) {
        prot |= PIOMMU_PROT_READ;
    }
    if ((descriptor & LEAF_S2_WRITE) != 0) {
        prot |= PIOMMU_PROT_WRITE;
    }
    if ((descriptor & LEAF_S2_NO_EXEC) == 0) {
        prot |= PIOMMU_PROT_EXECUTE;
    }
    if (memory == LEAF_S2_DEVICE) {
        prot |= PIOMMU_PROT_DEVICE;
    } else if (memory == LEAF_S2_NONCACHEABLE) {
        prot |= PIOMMU_PROT_NONCACHEABLE;
    }
    return prot;
}

piommu_prot piommu_pgtable_leaf_prot_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return table->info.format == PIOMMU_ARM_64_LPAE_S1 ? stage1_prot(descriptor)
                                                       : stage2_prot(descriptor);
}

/* The code of an output size in TCR.IPS and VTCR.PS, or -1 if there is no such size. */
static int output_size_code(unsigned int bits)
{
    static const uint8_t sizes[] = {32, 36, 40, 42, 44, 48};

    for (unsigned int code = 0; code < sizeof(sizes); code++) {
        if (sizes[code] == bits) {
            return (int)code;
        }
    }
    return -1;
}

/* The lowest level number at which one table covers the input. */
static unsigned int natural_start_level(unsigned int input_bits)
{
    unsigned int level = LAST_LEVEL;

    while (level > 0 && input_bits > PAGE_SHIFT + (LEVELS - level) * INDEX_BITS) {
        level--;
    }
    return level;
}

/*
 * Stage 2 may start at level 0 only where the implemented output size is at least 44 bits. Below
 * that the input does not exceed 42 bits, and up to eight level-1 tables side by side cover it.
 */
static unsigned int start_level(const struct piommu_pgtable_config *config)
{
    unsigned int level = natural_start_level(config->input_bits);

    if (config->format == PIOMMU_ARM_64_LPAE_S2 && level == 0 && config->output_bits < 44) {
        level = 1;
    }
    return level;
}

static int check_config(const struct piommu_pgtable_config *config)
{
    if (config->format != PIOMMU_ARM_64_LPAE_S1 && config->format != PIOMMU_ARM_64_LPAE_S2) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (config->granule != 1u << PAGE_SHIFT || config->input_bits < MIN_INPUT_BITS ||
        config->input_bits > MAX_INPUT_BITS || output_size_code(config->output_bits) < 0) {
        return -PIOMMU_EOPNOTSUPP;
    }
    /* Hardware faults every address that its output size cannot hold. */
    if (config->format == PIOMMU_ARM_64_LPAE_S2 && config->input_bits > config->output_bits) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

static int set_leaf_sizes(struct piommu_pgtable *table, uint64_t wanted)
{
    uint64_t known = 0;

    for (unsigned int level = 1; level < LEVELS; level++) {
        uint64_t size = pgtable_span(table, level);

        if (wanted != 0 && (wanted & size) == 0) {
            known |= size;
            continue;
        }
        known |= size;
        /* A leaf above the start level does not exist, whoever asks for it. */
        if (level >= table->start_level) {
            table->leaf_levels |= (uint8_t)(1u << level);
            table->info.leaf_sizes |= size;
        }
    }
    if ((wanted & ~known) != 0 || (wanted != 0 && (wanted & (1u << PAGE_SHIFT)) == 0)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

static void set_registers(struct piommu_pgtable *table, const struct piommu_pgtable_config *config)
{
    uint8_t cacheability = config->coherent_walk ? WALK_WRITE_BACK : WALK_NONCACHEABLE;
    uint8_t shareability = config->coherent_walk ? WALK_INNER_SHAREABLE : WALK_OUTER_SHAREABLE;
    uint8_t size_code = (uint8_t)output_size_code(config->output_bits);
    uint8_t tsz = (uint8_t)(64u - config->input_bits);

    if (config->format == PIOMMU_ARM_64_LPAE_S1) {
        struct piommu_pgtable_stage1_registers *stage1 = &table->info.registers.stage1;

        stage1->mair = MAIR_VALUE;
        stage1->tsz = tsz;
        stage1->irgn = cacheability;
        stage1->orgn = cacheability;
        stage1->sh = shareability;
        stage1->ips = size_code;
    } else {
        struct piommu_pgtable_stage2_registers *stage2 = &table->info.registers.stage2;

        stage2->tsz = tsz;
        stage2->irgn = cacheability;
        stage2->orgn = cacheability;
        stage2->sh = shareability;
        stage2->ps = size_code;
        /* With 4 KiB: 0 starts at level 2, 1 at level 1, 2 at level 0. */
        stage2->sl = (uint8_t)(2u - table->start_level);
    }
}

int piommu_pgtable_set_format_(struct piommu_pgtable *table,
                               const struct piommu_pgtable_config *config)
{
    int error = check_config(config);

    if (error != 0) {
        return error;
    }
    table->start_level = (uint8_t)start_level(config);
    table->slots = 1u << INDEX_BITS;
    for (unsigned int level = 0; level < LEVELS; level++) {
        table->shift[level] = (uint8_t)(PAGE_SHIFT + (LAST_LEVEL - level) * INDEX_BITS);
    }
    error = set_leaf_sizes(table, config->leaf_sizes);
    if (error != 0) {
        return error;
    }
    table->root_slots = 1u << (config->input_bits - table->shift[table->start_level]);
    table->last_input = (1ull << config->input_bits) - 1;
    table->last_output = (1ull << config->output_bits) - 1;
    table->max_table = table->last_output;
    table->info.format = config->format;
    table->info.granule = config->granule;
    table->info.input_bits = config->input_bits;
    table->info.output_bits = config->output_bits;
    table->info.start_level = table->start_level;
    table->info.write_only = config->format == PIOMMU_ARM_64_LPAE_S2;
    for (piommu_prot prot = 0; prot < PROT_VALUES; prot++) {
        piommu_prot memory = prot & (PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE);

        if (memory != (PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE)) {
            table->leaf_attributes[prot] = config->format == PIOMMU_ARM_64_LPAE_S1
                                               ? stage1_attributes(prot)
                                               : stage2_attributes(prot);
        }
    }
    set_registers(table, config);
    return 0;
}

void piommu_pgtable_set_root_(struct piommu_pgtable *table, uint64_t physical)
{
    table->info.root_physical = physical;
    if (table->info.format == PIOMMU_ARM_64_LPAE_S1) {
        table->info.registers.stage1.ttbr = physical;
    } else {
        table->info.registers.stage2.vttbr = physical;
    }
}

uint64_t piommu_pgtable_tcr_el1(const struct piommu_pgtable_info *info)
{
    const struct piommu_pgtable_stage1_registers *stage1 = &info->registers.stage1;
    const uint64_t walks_by_ttbr1_disabled = 1ull << 23;

    if (info->format != PIOMMU_ARM_64_LPAE_S1) {
        return 0;
    }
    return (uint64_t)stage1->tsz | ((uint64_t)stage1->irgn << 8) | ((uint64_t)stage1->orgn << 10) |
           ((uint64_t)stage1->sh << 12) | ((uint64_t)stage1->tg << 14) | walks_by_ttbr1_disabled |
           ((uint64_t)stage1->ips << 32);
}

uint64_t piommu_pgtable_vtcr_el2(const struct piommu_pgtable_info *info)
{
    const struct piommu_pgtable_stage2_registers *stage2 = &info->registers.stage2;
    const uint64_t reserved_as_one = 1ull << 31;

    if (info->format != PIOMMU_ARM_64_LPAE_S2) {
        return 0;
    }
    return (uint64_t)stage2->tsz | ((uint64_t)stage2->sl << 6) | ((uint64_t)stage2->irgn << 8) |
           ((uint64_t)stage2->orgn << 10) | ((uint64_t)stage2->sh << 12) |
           ((uint64_t)stage2->tg << 14) | ((uint64_t)stage2->ps << 16) | reserved_as_one;
}
