/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Geometry of the formats: which combinations exist, where a walk starts, which leaves there are;
 * and the values that hardware wants.
 *
 * Source: Arm ARM, VMSAv8-64: "Translation granules and start levels", "Concatenated translation
 * tables", "FEAT_LPA", "FEAT_LPA2", TCR_EL1, VTCR_EL2, MAIR_EL1; VMSAv8-32: "Long-descriptor
 * translation table format", TTBCR, VTCR.
 */

#include "pgtable.h"

#define MIN_INPUT_BITS       25u /* without FEAT_TTST */
#define MAX_INPUT_BITS       48u /* without FEAT_LVA and FEAT_LPA2 */
#define MAX_INPUT_BITS_LARGE 52u
#define MAX_OUTPUT_BITS_32   40u

/* The most tables that may lie side by side at the root of a stage 2. */
#define MAX_CONCATENATED 16u

/* Slot 0: Normal non-cacheable 0x44; slot 1: Normal write-back 0xff; slot 2: Device-nGnRE 0x04. */
#define MAIR_VALUE 0x000000000004ff44ull

/* Attributes of the walk itself. */
#define WALK_NONCACHEABLE    0u
#define WALK_WRITE_BACK      1u
#define WALK_OUTER_SHAREABLE 2u
#define WALK_INNER_SHAREABLE 3u

struct geometry {
    uint8_t page_shift;
    uint8_t tg0; /* the granule in TCR.TG0 and VTCR.TG0 */
    uint8_t tg1; /* the granule in TCR.TG1 */
    /* Bit H set: leaves at height H exist always, or only with 52 bits of output (or LPA2). */
    uint8_t leaf_heights;
    uint8_t large_leaf_heights;
    /*
     * The highest tables at which a stage 2 may start without FEAT_LPA2, and the output bits that
     * an implementation must have for it to start there.
     */
    uint8_t stage2_top;
    uint8_t stage2_top_output_bits;
    uint8_t group_shift[HEIGHTS]; /* contiguous groups, by height */
};

static const struct geometry geometry_4k = {
    .page_shift = 12,
    .tg0 = 0,
    .tg1 = 2,
    .leaf_heights = 0x7,
    .large_leaf_heights = 0x8,
    .stage2_top = 3,
    .stage2_top_output_bits = 44,
    .group_shift = {4, 4, 4},
};

static const struct geometry geometry_16k = {
    .page_shift = 14,
    .tg0 = 2,
    .tg1 = 1,
    .leaf_heights = 0x3,
    .large_leaf_heights = 0x4,
    .stage2_top = 2,
    .stage2_top_output_bits = 42,
    .group_shift = {7, 5},
};

static const struct geometry geometry_64k = {
    .page_shift = 16,
    .tg0 = 1,
    .tg1 = 3,
    .leaf_heights = 0x3,
    .large_leaf_heights = 0x4,
    .stage2_top = 2,
    .stage2_top_output_bits = 44,
    .group_shift = {5, 5},
};

/* That of a granule which is built. */
static const struct geometry *find_geometry(uint32_t granule)
{
    if (granule_is(granule, GRANULE_4K)) {
        return &geometry_4k;
    }
    return granule_is(granule, GRANULE_16K) ? &geometry_16k : &geometry_64k;
}

/* log2 of the slots, of 8 bytes, in a table that is as large as the granule. */
static unsigned int index_bits(const struct geometry *geometry)
{
    return geometry->page_shift - 3u;
}

static bool is_stage1(const struct piommu_pgtable_config *config)
{
    return format_is_stage1(config->format);
}

static bool is_32bit(const struct piommu_pgtable_config *config)
{
    return format_is_32bit(config->format);
}

/*
 * FEAT_LPA2 is in force (the DS bit): what goes beyond 48 bits with the two smaller granules needs
 * it.
 */
static bool has_lpa2(const struct piommu_pgtable_config *config)
{
    return !granule_is(config->granule, GRANULE_64K) &&
           (config->input_bits > MAX_INPUT_BITS || config->output_bits > MAX_INPUT_BITS);
}

/* The code of an output size in TCR.IPS and VTCR.PS, or -1 if there is no such size. */
static int output_size_code(unsigned int bits)
{
    static const uint8_t sizes[] = {32, 36, 40, 42, 44, 48, 52};

    for (unsigned int code = 0; code < sizeof(sizes); code++) {
        if (sizes[code] == bits) {
            return (int)code;
        }
    }
    return -1;
}

/* Whether all flags mean something in the format, and on this host. */
static bool has_flags(const struct piommu_pgtable_config *config)
{
    const uint32_t stage1 = PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE;
    const uint32_t stage2 =
        PIOMMU_PGTABLE_FORCE_WRITE_BACK | PIOMMU_PGTABLE_XNX | PIOMMU_PGTABLE_CONCATENATE;
    const uint32_t only_64bit = PIOMMU_PGTABLE_FORCE_WRITE_BACK | PIOMMU_PGTABLE_XNX |
                                PIOMMU_PGTABLE_SMALL_INPUT | PIOMMU_PGTABLE_CONTIGUOUS |
                                PIOMMU_PGTABLE_DIRTY;
    uint32_t impossible = is_stage1(config) ? stage2 : stage1;

    if (is_32bit(config)) {
        impossible |= only_64bit;
    }
    if (!DESCRIPTOR_ATOMIC || !config->coherent_walk) {
        impossible |= PIOMMU_PGTABLE_DIRTY;
    }
    if (!HAS_DISJOINT) {
        impossible |= PIOMMU_PGTABLE_DISJOINT;
    }
    return (config->flags & impossible) == 0;
}

static bool has_input_size(const struct piommu_pgtable_config *config)
{
    unsigned int least = MIN_INPUT_BITS;
    unsigned int most = MAX_INPUT_BITS_LARGE;

    if ((config->flags & PIOMMU_PGTABLE_SMALL_INPUT) != 0) {
        /* A table has at least two slots. */
        least = granule_is(config->granule, GRANULE_64K) ? 17 : 16;
    }
    if (!is_stage1(config)) {
        /* Hardware faults every address that its output size cannot hold. */
        most = config->output_bits;
    } else if (is_32bit(config)) {
        most = (config->flags & PIOMMU_PGTABLE_TTBR1) != 0 ? 31 : 32;
    }
    return config->input_bits >= least && config->input_bits <= most;
}

/* Whether what is said of the root's place makes sense. */
static bool has_root_place(const struct piommu_pgtable_config *config)
{
    return (config->root_alignment & (config->root_alignment - 1)) == 0 &&
           config->root_bits <= config->output_bits;
}

/* Whether the format exists with all that the config wants, the root and the leaves aside. */
static bool is_possible(const struct piommu_pgtable_config *config)
{
    return built_with_format(config->format) && built_with_granule(config->granule) &&
           (!is_32bit(config) || (granule_is(config->granule, GRANULE_4K) &&
                                  config->output_bits <= MAX_OUTPUT_BITS_32)) &&
           has_flags(config) && has_input_size(config);
}

/* The lowest height at which one table covers the input. */
static unsigned int natural_root_height(const struct geometry *geometry, unsigned int input_bits)
{
    unsigned int height = 0;

    while (input_bits > geometry->page_shift + (height + 1) * index_bits(geometry)) {
        height++;
    }
    return height;
}

/*
 * Whether a stage 2 may start at a height. The highest tables are allowed only where the
 * implementation has many address bits; it has at least those that are in use here. What the 32-bit
 * format forbids, it forbids by its few address bits, and since it has no small input.
 */
static bool stage2_may_start(const struct piommu_pgtable_config *config,
                             const struct geometry *geometry, unsigned int height)
{
    if (height == 0 && granule_is(config->granule, GRANULE_4K)) {
        return (config->flags & PIOMMU_PGTABLE_SMALL_INPUT) != 0;
    }
    if (height == geometry->stage2_top) {
        return config->output_bits >= geometry->stage2_top_output_bits;
    }
    return height < geometry->stage2_top || has_lpa2(config);
}

/* The height of the root, or -1 if there is no root for this combination. */
static int root_height(const struct piommu_pgtable_config *config, const struct geometry *geometry)
{
    unsigned int height = natural_root_height(geometry, config->input_bits);
    unsigned int tables_bits; /* log2 of the tables side by side one level farther down */
    bool allowed;

    if (is_stage1(config)) {
        return (int)height;
    }
    allowed = stage2_may_start(config, geometry, height);
    if (height != 0 && (!allowed || (config->flags & PIOMMU_PGTABLE_CONCATENATE) != 0)) {
        tables_bits = config->input_bits - (geometry->page_shift + height * index_bits(geometry));
        if ((1u << tables_bits) <= MAX_CONCATENATED &&
            stage2_may_start(config, geometry, height - 1)) {
            return (int)height - 1;
        }
    }
    return allowed ? (int)height : -1;
}

/* A group must lie in the aperture and the output: a small root has no room for one. */
static void set_group(struct piommu_pgtable *table, unsigned int height, unsigned int shift)
{
    uint64_t size = pgtable_span(table, height) << shift;

    if (shift != 0 && table->index_mask[height] >= (1u << shift) - 1 &&
        size - 1 <= table->last_output) {
        table->group_shift[height] = (uint8_t)shift;
        table->info.contiguous_sizes |= size;
    }
}

/* Returns whether the leaf sizes that are wanted exist. */
static bool set_leaves(struct piommu_pgtable *table, const struct geometry *geometry,
                       const struct piommu_pgtable_config *config)
{
    /* The same features bring the largest leaves and addresses in two parts. */
    bool large = table->address_fold != 0;
    uint64_t wanted = config->leaf_sizes;
    uint64_t unknown = wanted;

    table->block_heights =
        (uint8_t)(geometry->leaf_heights | (large ? geometry->large_leaf_heights : 0u));
    for (unsigned int height = 0; height < HEIGHTS; height++) {
        unsigned int bit = 1u << height;
        uint64_t size;

        if (((geometry->leaf_heights | geometry->large_leaf_heights) & bit) == 0) {
            continue;
        }
        size = pgtable_span(table, height);
        unknown &= ~size;
        if ((wanted == 0 || (wanted & size) != 0) && (table->block_heights & bit) != 0 &&
            height <= table->root_height && size - 1 <= table->last_output) {
            table->leaf_heights |= (uint8_t)bit;
            table->info.leaf_sizes |= size;
            if ((config->flags & PIOMMU_PGTABLE_CONTIGUOUS) != 0) {
                set_group(table, height, geometry->group_shift[height]);
            }
        }
    }
    return unknown == 0 && (table->leaf_heights & 1) != 0;
}

static void set_addresses(struct piommu_pgtable *table, const struct piommu_pgtable_config *config)
{
    unsigned int page_shift = table->shift[0];
    unsigned int top = 48; /* address bits in place end below this one */

    table->last_output = (1ull << config->output_bits) - 1;
    if (is_32bit(config)) {
        top = 40;
    } else if (has_lpa2(config)) {
        /* Address bits 51:50 in descriptor bits 9:8. */
        top = 50;
        table->address_fold = 3ull << 8;
        table->fold_shift = 50 - 8;
    } else if (config->output_bits > MAX_INPUT_BITS) {
        /* Address bits 51:48 in descriptor bits 15:12. */
        table->address_fold = 0xfull << 12;
        table->fold_shift = 48 - 12;
    }
    table->address_mask = ((1ull << top) - 1) & ~((1ull << page_shift) - 1);
}

static void set_aperture(struct piommu_pgtable *table, const struct piommu_pgtable_config *config)
{
    uint64_t span = (1ull << config->input_bits) - 1;

    table->aperture.first = 0;
    table->aperture.last = span;
    if ((config->flags & PIOMMU_PGTABLE_TTBR1) != 0) {
        table->aperture.last = is_32bit(config) ? UINT32_MAX : UINT64_MAX;
        table->aperture.first = table->aperture.last - span;
    }
    table->info.aperture = table->aperture;
    pgtable_forget_recent(table);
}

static uint8_t walk_cacheability(const struct piommu_pgtable *table)
{
    return table->coherent_walk ? WALK_WRITE_BACK : WALK_NONCACHEABLE;
}

static uint8_t walk_shareability(const struct piommu_pgtable *table)
{
    return table->coherent_walk ? WALK_INNER_SHAREABLE : WALK_OUTER_SHAREABLE;
}

static void set_stage1_registers(struct piommu_pgtable *table,
                                 const struct piommu_pgtable_config *config,
                                 const struct geometry *geometry, int size_code)
{
    struct piommu_pgtable_stage1_registers *stage1 = &table->info.registers.stage1;

    stage1->mair = MAIR_VALUE;
    stage1->irgn = walk_cacheability(table);
    stage1->orgn = walk_cacheability(table);
    stage1->sh = walk_shareability(table);
    if (is_32bit(config)) {
        stage1->tsz = (uint8_t)(32u - config->input_bits);
        return;
    }
    stage1->tsz = (uint8_t)(64u - config->input_bits);
    stage1->tg = (config->flags & PIOMMU_PGTABLE_TTBR1) != 0 ? geometry->tg1 : geometry->tg0;
    stage1->ips = (uint8_t)size_code;
    stage1->ds = has_lpa2(config);
    stage1->ha = (config->flags & PIOMMU_PGTABLE_DIRTY) != 0;
    stage1->hd = stage1->ha;
}

static void set_stage2_registers(struct piommu_pgtable *table,
                                 const struct piommu_pgtable_config *config,
                                 const struct geometry *geometry, int size_code)
{
    struct piommu_pgtable_stage2_registers *stage2 = &table->info.registers.stage2;

    stage2->irgn = walk_cacheability(table);
    stage2->orgn = walk_cacheability(table);
    stage2->sh = walk_shareability(table);
    if (is_32bit(config)) {
        /* A signed number, of which VTCR.S repeats the sign. */
        stage2->tsz = (uint8_t)((32u - config->input_bits) & 0x1fu);
        stage2->sl = (uint8_t)(table->root_height - 1u);
        return;
    }
    stage2->tsz = (uint8_t)(64u - config->input_bits);
    stage2->tg = geometry->tg0;
    stage2->ps = (uint8_t)size_code;
    stage2->ds = has_lpa2(config);
    stage2->ha = (config->flags & PIOMMU_PGTABLE_DIRTY) != 0;
    stage2->hd = stage2->ha;
    if (!granule_is(config->granule, GRANULE_4K)) {
        stage2->sl = table->root_height;
    } else if (table->root_height == 0) {
        stage2->sl = 3;
    } else if (table->root_height == 4) {
        stage2->sl2 = true;
    } else {
        stage2->sl = (uint8_t)(table->root_height - 1u);
    }
}

int piommu_pgtable_set_format_(struct piommu_pgtable *table,
                               const struct piommu_pgtable_config *config)
{
    const struct geometry *geometry;
    unsigned int slots_bits;
    int size_code = output_size_code(config->output_bits);
    int height;

    if ((config->flags & ~PIOMMU_PGTABLE_FLAGS) != 0 || !has_root_place(config)) {
        return -PIOMMU_EINVAL;
    }
    if (size_code < 0 || !is_possible(config)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    geometry = find_geometry(config->granule);
    height = root_height(config, geometry);
    if (height < 0) {
        return -PIOMMU_EOPNOTSUPP;
    }
    table->root_height = (uint8_t)height;
    for (unsigned int i = 0; i < HEIGHTS; i++) {
        table->shift[i] = (uint8_t)(geometry->page_shift + i * index_bits(geometry));
        table->index_mask[i] = (1u << index_bits(geometry)) - 1;
    }
    slots_bits = config->input_bits - table->shift[height];
    table->index_mask[height] = (1u << slots_bits) - 1;
    table->root_shift = table->shift[height];
    table->root_mask = table->index_mask[height];
    table->info.format = config->format;
    table->info.granule = config->granule;
    table->info.flags = config->flags;
    table->info.input_bits = config->input_bits;
    table->info.output_bits = config->output_bits;
    table->info.start_level = (int8_t)pgtable_level(table->root_height);
    table->info.coherent_walk = config->coherent_walk;
    table->info.write_only = !is_stage1(config);
    table->info.live_cut = DESCRIPTOR_ATOMIC && (config->flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0;
    table->info.root_size = sizeof(descriptor_slot) << slots_bits;
    set_aperture(table, config);
    set_addresses(table, config);
    if (!set_leaves(table, geometry, config)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (is_stage1(config)) {
        set_stage1_registers(table, config, geometry, size_code);
    } else {
        set_stage2_registers(table, config, geometry, size_code);
    }
    piommu_pgtable_set_attributes_(table);
    table->index_bits = (uint8_t)index_bits(geometry);
    if (table->linear && table->address_fold == 0 && table->info.contiguous_sizes == 0 &&
        (config->flags & PIOMMU_PGTABLE_DIRTY) == 0) {
        table->quick_sizes = table->info.leaf_sizes;
        table->quick_page = config->granule;
        table->quick_way = config->granule | table->root_height;
    }
    return 0;
}

void piommu_pgtable_set_root_(struct piommu_pgtable *table, uint64_t physical)
{
    const uint64_t in_place = (1ull << 48) - 1;
    uint64_t base = physical;

    /* Such a root is aligned to 64 bytes at least, so bits 5:2 are free for address bits 51:48. */
    if (table->info.output_bits > MAX_INPUT_BITS) {
        base = (physical & in_place) | ((physical & ~in_place) >> 46);
    }
    table->info.root_physical = physical;
    if (pgtable_is_stage1(table)) {
        table->info.registers.stage1.ttbr = base;
    } else {
        table->info.registers.stage2.vttbr = base;
    }
}
