/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_MODELS_LPAE_WALKER_INTERNAL_H
#define PIOMMU_MODELS_LPAE_WALKER_INTERNAL_H

/* What the files of the walker share. */

#include <piommu/models/lpae-walker.h>

#define BIT(n) (UINT64_C(1) << (n))

/* An input or output address of AArch32 has at most so many bits, whatever hardware has. */
#define AARCH32_INPUT_BITS  32 /* stage 1 */
#define AARCH32_OUTPUT_BITS 40

/* Leaf descriptors. */
#define LEAF_AP_UNPRIVILEGED BIT(6) /* stage 1 */
#define LEAF_AP_READ_ONLY    BIT(7) /* stage 1 */
#define LEAF_S2AP_READ       BIT(6) /* stage 2 */
#define LEAF_S2AP_WRITE      BIT(7) /* stage 2 */
#define LEAF_NON_SECURE      BIT(5)
#define LEAF_ACCESS_FLAG     BIT(10)
#define LEAF_NOT_GLOBAL      BIT(11)
#define LEAF_NO_TRANSLATION  BIT(16)
#define LEAF_DIRTY_MODIFIER  BIT(51)
#define LEAF_CONTIGUOUS      BIT(52)
#define LEAF_PRIVILEGED_XN   BIT(53) /* stage 1; stage 2 has XN[0] here */
#define LEAF_UNPRIVILEGED_XN BIT(54) /* stage 1; stage 2 has XN[1] here */
#define LEAF_XN              BIT(54) /* AArch32, stage 1 */

/* Table descriptors, stage 1. */
#define TABLE_NO_PRIVILEGED_EXECUTE   BIT(59)
#define TABLE_NO_UNPRIVILEGED_EXECUTE BIT(60)
#define TABLE_NO_EXECUTE              BIT(60) /* AArch32 */
#define TABLE_NO_UNPRIVILEGED_ACCESS  BIT(61)
#define TABLE_NO_WRITE                BIT(62)

static inline uint64_t bits_below(unsigned int count)
{
    return count >= 64 ? UINT64_MAX : BIT(count) - 1;
}

static inline uint64_t bits_between(unsigned int high, unsigned int low)
{
    return bits_below(high + 1) & ~bits_below(low);
}

static inline unsigned int field(uint64_t value, unsigned int high, unsigned int low)
{
    return (unsigned int)((value & bits_between(high, low)) >> low);
}

static inline bool is_aarch32(const struct piommu_walker_regime *regime)
{
    return regime->format == PIOMMU_WALKER_FORMAT_AARCH32;
}

static inline unsigned int index_bits(const struct piommu_walker_regime *regime)
{
    return regime->granule_shift - 3;
}

static inline unsigned int level_shift(const struct piommu_walker_regime *regime, int level)
{
    return regime->granule_shift + (unsigned int)(3 - level) * index_bits(regime);
}

/* The highest bit of a descriptor that is address bit of the same number. */
static inline unsigned int highest_address_bit(const struct piommu_walker_regime *regime)
{
    if (is_aarch32(regime) && regime->hardware.is_armv7) {
        return AARCH32_OUTPUT_BITS - 1;
    }
    return regime->uses_lpa2 ? 49 : 47;
}

/* FEAT_XNX came long after Armv7. */
static inline bool has_execute_never_by_privilege(const struct piommu_walker_regime *regime)
{
    return regime->hardware.has_execute_never_by_privilege &&
           !(is_aarch32(regime) && regime->hardware.is_armv7);
}

/* Does the level have the nT bit? AArch32 never has. */
static inline bool level_has_no_translation(const struct piommu_walker_regime *regime, int level)
{
    return level < 3 && !is_aarch32(regime) && regime->hardware.break_before_make_level >= 1;
}

/* Bits 63:59 of a table descriptor restrict everything below, in stage 1 and unless disabled. */
static inline uint64_t table_attributes(const struct piommu_walker_regime *regime,
                                        uint64_t descriptor)
{
    if (regime->stage != 1 || regime->ignores_table_attributes) {
        return 0;
    }
    return descriptor & bits_between(63, 59);
}

/* ---- descriptors ---- */

enum entry_kind {
    ENTRY_INVALID,
    ENTRY_TABLE,
    ENTRY_LEAF,
    ENTRY_RESERVED, /* a block at the wrong level, or type 01 at level 3 */
};

struct entry {
    enum entry_kind kind;
    bool is_too_high;
    uint64_t address; /* of the next table or the output */
};

struct entry piommu_walker_decode_entry_(const struct piommu_walker_regime *regime, int level,
                                         uint64_t descriptor);
/* Of a leaf, below tables with these attributes. */
void piommu_walker_decode_attributes_(const struct piommu_walker_regime *regime, int level,
                                      uint64_t descriptor, uint64_t inherited,
                                      struct piommu_walker_attributes *attributes);

/* ---- tables, entry by entry ---- */

/* A table being swept, and the input address of its first entry. */
struct sweep {
    struct piommu_walker_position position;
    uint64_t input;
    size_t entries;
};

/* One entry of a table being swept. */
struct spot {
    int level;
    uint64_t input;
    uint64_t location;
    uint64_t descriptor;
};

static inline struct spot spot_at(const struct piommu_walker_regime *regime,
                                  const struct sweep *sweep, size_t index)
{
    struct spot spot = {sweep->position.level, sweep->input, 0, 0};

    spot.input += (uint64_t)index << level_shift(regime, spot.level);
    spot.location = sweep->position.table + 8 * (uint64_t)index;
    return spot;
}

static inline struct sweep root_sweep(const struct piommu_walker_regime *regime)
{
    struct sweep sweep = {{regime->start_level, regime->root, 0}, 0, 0};

    if (regime->is_upper_half) {
        sweep.input = ~bits_below(regime->input_bits);
    }
    if (is_aarch32(regime)) {
        sweep.input &= bits_below(AARCH32_INPUT_BITS);
    }
    sweep.entries = (size_t)(piommu_walker_root_size(regime) / 8);
    return sweep;
}

static inline struct sweep child_sweep(const struct piommu_walker_regime *regime,
                                       const struct sweep *parent, const struct spot *spot,
                                       uint64_t table)
{
    struct sweep sweep = {{spot->level + 1, table, parent->position.inherited}, spot->input, 0};

    sweep.position.inherited |= table_attributes(regime, spot->descriptor);
    sweep.entries = (size_t)1 << index_bits(regime);
    return sweep;
}

#endif
