/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include <piommu/models/lpae-walker.h>

#include <stdlib.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))

/* No level has this number: a reserved encoding of the start level. */
#define LEVEL_RESERVED 4

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

static uint64_t bits_below(unsigned int count)
{
    return count >= 64 ? UINT64_MAX : BIT(count) - 1;
}

static uint64_t bits_between(unsigned int high, unsigned int low)
{
    return bits_below(high + 1) & ~bits_below(low);
}

static unsigned int field(uint64_t value, unsigned int high, unsigned int low)
{
    return (unsigned int)((value & bits_between(high, low)) >> low);
}

static bool is_aarch32(const struct piommu_walker_regime *regime)
{
    return regime->format == PIOMMU_WALKER_FORMAT_AARCH32;
}

static unsigned int index_bits(const struct piommu_walker_regime *regime)
{
    return regime->granule_shift - 3;
}

unsigned int piommu_walker_level_shift(const struct piommu_walker_regime *regime, int level)
{
    return regime->granule_shift + (unsigned int)(3 - level) * index_bits(regime);
}

uint64_t piommu_walker_root_size(const struct piommu_walker_regime *regime)
{
    return UINT64_C(8) << (regime->input_bits -
                           piommu_walker_level_shift(regime, regime->start_level));
}

unsigned int piommu_walker_contiguous_entries(const struct piommu_walker_regime *regime, int level)
{
    switch (regime->granule_shift) {
    case 12:
        return level >= 1 && level <= 3 ? 16 : 0;
    case 14:
        return level == 3 ? 128 : level == 2 ? 32 : 0;
    default:
        return level == 3 || level == 2 ? 32 : 0;
    }
}

/*
 * Setting up: Arm ARM, VMSAv8-64 and VMSAv8-32, rules for the initial lookup level.
 */

static bool output_size_exists(unsigned int bits)
{
    return bits == 32 || bits == 36 || bits == 40 || bits == 42 || bits == 44 || bits == 48 ||
           bits == 52;
}

static int lowest_level(const struct piommu_walker_regime *regime)
{
    if (is_aarch32(regime)) {
        return 1;
    }
    switch (regime->granule_shift) {
    case 12:
        return regime->uses_lpa2 ? -1 : 0;
    case 14:
        return 0;
    default:
        return 1;
    }
}

static unsigned int largest_input(const struct piommu_walker_regime *regime)
{
    if (is_aarch32(regime)) {
        return regime->stage == 1 ? AARCH32_INPUT_BITS : AARCH32_OUTPUT_BITS;
    }
    if (regime->granule_shift != 16) {
        return regime->uses_lpa2 ? 52 : 48;
    }
    if (regime->stage == 1) {
        return regime->hardware.has_large_virtual_addresses ? 52 : 48;
    }
    return regime->hardware.physical_bits == 52 ? 52 : 48;
}

static unsigned int smallest_input(const struct piommu_walker_regime *regime)
{
    if (is_aarch32(regime) || !regime->hardware.has_small_tables) {
        return 25;
    }
    return regime->granule_shift == 16 ? 17 : 16;
}

/* Stage 1 has no choice: it starts as far down as a single table can cover the input. */
static int stage1_start_level(const struct piommu_walker_regime *regime)
{
    int level = 3;

    while (level > lowest_level(regime) &&
           regime->input_bits > piommu_walker_level_shift(regime, level) + index_bits(regime)) {
        level--;
    }
    return level;
}

/* Stage 2 says where it starts, and up to 16 tables may lie side by side there. */
static bool stage2_start_level_is_legal(const struct piommu_walker_regime *regime)
{
    unsigned int shift = piommu_walker_level_shift(regime, regime->start_level);
    unsigned int physical_bits = regime->hardware.physical_bits;

    if (regime->input_bits < shift + 1 || regime->input_bits > shift + index_bits(regime) + 4) {
        return false;
    }

    if (is_aarch32(regime)) {
        return regime->start_level != 3;
    }
    switch (regime->granule_shift) {
    case 12:
        if (regime->start_level == 0) {
            return physical_bits >= 44;
        }
        return regime->start_level != 3 || regime->hardware.has_small_tables;
    case 14:
        if (regime->start_level == 0) {
            return regime->uses_lpa2;
        }
        return regime->start_level >= 2 || physical_bits >= 42;
    default:
        return regime->start_level >= 2 || physical_bits >= 44;
    }
}

static enum piommu_walker_setup validate_root(const struct piommu_walker_regime *regime)
{
    uint64_t alignment = piommu_walker_root_size(regime);

    /*
     * With 52-bit addresses the low bits of the root's register hold address bits 51:48. Whether
     * they do so with DS and a smaller output size, readers of the manual disagree: no root may
     * depend on it.
     */
    if ((regime->output_bits == 52 || regime->uses_lpa2) && alignment < 64) {
        alignment = 64;
    }
    if (alignment < 16) {
        alignment = 16;
    }
    if (regime->root & (alignment - 1)) {
        return PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT;
    }
    return regime->root >> regime->output_bits ? PIOMMU_WALKER_SETUP_ROOT_ADDRESS
                                               : PIOMMU_WALKER_SETUP_OK;
}

static enum piommu_walker_setup validate_sizes(const struct piommu_walker_regime *regime)
{
    if (!output_size_exists(regime->hardware.physical_bits) ||
        !output_size_exists(regime->output_bits) ||
        regime->output_bits > regime->hardware.physical_bits ||
        (regime->output_bits == 52 && regime->granule_shift != 16 && !regime->uses_lpa2)) {
        return PIOMMU_WALKER_SETUP_OUTPUT_SIZE;
    }
    if (regime->input_bits < smallest_input(regime) || regime->input_bits > largest_input(regime)) {
        return PIOMMU_WALKER_SETUP_INPUT_SIZE;
    }
    if (is_aarch32(regime)) {
        if (regime->other_half_bits > AARCH32_INPUT_BITS) {
            return PIOMMU_WALKER_SETUP_INPUT_SIZE;
        }
        return regime->output_bits > AARCH32_OUTPUT_BITS ? PIOMMU_WALKER_SETUP_OUTPUT_SIZE
                                                         : PIOMMU_WALKER_SETUP_OK;
    }
    /* The input of stage 2 is a physical address in the eyes of the guest. */
    if (regime->stage == 2 && regime->input_bits > regime->output_bits) {
        return PIOMMU_WALKER_SETUP_INPUT_SIZE;
    }
    return PIOMMU_WALKER_SETUP_OK;
}

/* What only one of the formats or stages has. */
static bool mode_exists(const struct piommu_walker_regime *regime)
{
    if (regime->stage < 1 || regime->stage > 2 || (regime->stage == 2 && regime->is_upper_half)) {
        return false;
    }
    switch (regime->format) {
    case PIOMMU_WALKER_FORMAT_AARCH64:
        return regime->other_half_bits == 0 && !regime->unprivileged_write_implies_no_execute &&
               (!regime->uses_lpa2 || regime->hardware.has_lpa2);
    case PIOMMU_WALKER_FORMAT_AARCH32:
        return !regime->uses_lpa2 && !regime->ignores_top_byte && !regime->access_flag_updates &&
               !regime->dirty_updates && !regime->forced_write_back &&
               (regime->stage == 1 || regime->other_half_bits == 0);
    }
    return false;
}

enum piommu_walker_setup piommu_walker_validate(const struct piommu_walker_regime *regime)
{
    enum piommu_walker_setup setup;

    if (!mode_exists(regime)) {
        return PIOMMU_WALKER_SETUP_UNSUPPORTED;
    }
    if ((is_aarch32(regime) && regime->granule_shift != 12) ||
        (regime->uses_lpa2 && regime->granule_shift == 16)) {
        return PIOMMU_WALKER_SETUP_GRANULE;
    }
    if (regime->granule_shift != 12 && regime->granule_shift != 14 && regime->granule_shift != 16) {
        return PIOMMU_WALKER_SETUP_GRANULE;
    }
    setup = validate_sizes(regime);
    if (setup != PIOMMU_WALKER_SETUP_OK) {
        return setup;
    }
    if (regime->start_level < lowest_level(regime) || regime->start_level > 3) {
        return PIOMMU_WALKER_SETUP_START_LEVEL;
    }
    if (regime->stage == 1 ? regime->start_level != stage1_start_level(regime)
                           : !stage2_start_level_is_legal(regime)) {
        return PIOMMU_WALKER_SETUP_START_LEVEL;
    }
    return validate_root(regime);
}

/* IPS and PS; a value above what hardware has acts as the largest that it has. */
static enum piommu_walker_setup decode_output_size(struct piommu_walker_regime *regime,
                                                   unsigned int value)
{
    static const unsigned int sizes[] = {32, 36, 40, 42, 44, 48, 52};

    if (value >= sizeof(sizes) / sizeof(sizes[0])) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }
    if (sizes[value] == 52 && regime->granule_shift != 16 && !regime->uses_lpa2) {
        return PIOMMU_WALKER_SETUP_OUTPUT_SIZE;
    }
    regime->output_bits = sizes[value];
    if (regime->output_bits > regime->hardware.physical_bits) {
        regime->output_bits = regime->hardware.physical_bits;
    }
    return PIOMMU_WALKER_SETUP_OK;
}

static enum piommu_walker_setup decode_root_register(struct piommu_walker_regime *regime,
                                                     uint64_t value)
{
    regime->identifier = field(value, 63, 48);
    if (!regime->has_wide_identifiers && regime->identifier > 0xff) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }
    regime->is_common_not_private = value & 1;
    if (regime->output_bits == 52) {
        if (value & BIT(1)) {
            return PIOMMU_WALKER_SETUP_RESERVED_BITS;
        }
        regime->root = (value & bits_between(47, 6)) | (uint64_t)field(value, 5, 2) << 48;
    } else {
        regime->root = value & bits_between(47, 1);
    }
    return PIOMMU_WALKER_SETUP_OK;
}

static enum piommu_walker_setup decode_walk_attributes(struct piommu_walker_regime *regime,
                                                       unsigned int value)
{
    regime->walk_inner_cacheability = field(value, 1, 0);
    regime->walk_outer_cacheability = field(value, 3, 2);
    regime->walk_shareability = field(value, 5, 4);
    return regime->walk_shareability == 1 ? PIOMMU_WALKER_SETUP_RESERVED_BITS
                                          : PIOMMU_WALKER_SETUP_OK;
}

/* TG0 and TG1 number the granules differently; 0 stands for a reserved value. */
static unsigned int decode_granule(unsigned int value, bool is_upper_half)
{
    static const unsigned int lower[4] = {12, 16, 14, 0};
    static const unsigned int upper[4] = {0, 14, 12, 16};

    return is_upper_half ? upper[value] : lower[value];
}

static void decode_updates(struct piommu_walker_regime *regime, bool access_flag, bool dirty)
{
    const struct piommu_walker_hardware *hardware = &regime->hardware;

    regime->access_flag_updates =
        access_flag && (hardware->has_access_flag_updates || hardware->has_dirty_updates);
    regime->dirty_updates = regime->access_flag_updates && dirty && hardware->has_dirty_updates;
}

/* DS serves both halves: one with 64K, which has no use for it, may stand beside one with 4K. */
static enum piommu_walker_setup decode_tcr_ds(struct piommu_walker_regime *regime, uint64_t tcr)
{
    const unsigned int other = regime->is_upper_half ? 0 : 16;
    unsigned int other_granule =
        decode_granule(field(tcr, 15 + other, 14 + other), !regime->is_upper_half);

    if (!(tcr & BIT(59))) {
        return PIOMMU_WALKER_SETUP_OK;
    }
    if (!regime->hardware.has_lpa2) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }
    if (regime->granule_shift != 16) {
        regime->uses_lpa2 = true;
        return PIOMMU_WALKER_SETUP_OK;
    }
    return field(tcr, 7 + other, 7 + other) || other_granule == 0 || other_granule == 16
               ? PIOMMU_WALKER_SETUP_RESERVED_BITS
               : PIOMMU_WALKER_SETUP_OK;
}

enum piommu_walker_setup piommu_walker_regime_from_tcr(
    const struct piommu_walker_hardware *hardware, uint64_t tcr, uint64_t root_register,
    uint64_t mair, bool is_upper_half, struct piommu_walker_regime *regime)
{
    const unsigned int half = is_upper_half ? 16 : 0; /* distance of the T1SZ group of fields */
    enum piommu_walker_setup setup;

    memset(regime, 0, sizeof(*regime));
    regime->hardware = *hardware;
    regime->stage = 1;
    regime->is_upper_half = is_upper_half;
    regime->mair = mair;
    regime->mair_slots_in_use = 0xff;
    if (tcr & (BIT(6) | BIT(35) | bits_between(58, 51) | bits_between(63, 60))) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }

    regime->granule_shift = decode_granule(field(tcr, 15 + half, 14 + half), is_upper_half);
    if (regime->granule_shift == 0) {
        return PIOMMU_WALKER_SETUP_GRANULE;
    }
    regime->input_bits = 64 - field(tcr, 5 + half, half);
    regime->is_disabled = field(tcr, 7 + half, 7 + half);
    regime->identifier_is_upper = field(tcr, 22, 22);
    regime->has_wide_identifiers = field(tcr, 36, 36);
    regime->ignores_top_byte = tcr & (is_upper_half ? BIT(38) : BIT(37));
    regime->ignores_table_attributes = tcr & (is_upper_half ? BIT(42) : BIT(41));
    decode_updates(regime, field(tcr, 39, 39), field(tcr, 40, 40));
    setup = decode_tcr_ds(regime, tcr);
    if (setup == PIOMMU_WALKER_SETUP_OK) {
        setup = decode_walk_attributes(regime, field(tcr, 13 + half, 8 + half));
    }
    if (setup == PIOMMU_WALKER_SETUP_OK) {
        setup = decode_output_size(regime, field(tcr, 34, 32));
    }
    if (setup == PIOMMU_WALKER_SETUP_OK) {
        setup = decode_root_register(regime, root_register);
    }
    if (setup != PIOMMU_WALKER_SETUP_OK) {
        return setup;
    }
    regime->start_level = stage1_start_level(regime);
    return piommu_walker_validate(regime);
}

/* SL2 and SL0: level numbers per granule. */
static int decode_start_level(const struct piommu_walker_regime *regime, unsigned int sl2,
                              unsigned int sl0)
{
    static const int with_4k[4] = {2, 1, 0, 3};
    static const int with_16k[4] = {3, 2, 1, 0};
    static const int with_64k[4] = {3, 2, 1, LEVEL_RESERVED};

    /* SL2 is there for the one level that SL0 has no value for. */
    if (sl2 != 0) {
        return regime->uses_lpa2 && regime->granule_shift == 12 && sl0 == 0 ? -1 : LEVEL_RESERVED;
    }
    if (regime->granule_shift == 12) {
        return with_4k[sl0];
    }
    return regime->granule_shift == 14 ? with_16k[sl0] : with_64k[sl0];
}

enum piommu_walker_setup piommu_walker_regime_from_vtcr(
    const struct piommu_walker_hardware *hardware, uint64_t vtcr, uint64_t vttbr,
    struct piommu_walker_regime *regime)
{
    enum piommu_walker_setup setup;

    memset(regime, 0, sizeof(*regime));
    regime->hardware = *hardware;
    regime->stage = 2;
    if (vtcr & (BIT(20) | bits_between(24, 23) | bits_between(63, 34)) || !(vtcr & BIT(31))) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }

    regime->granule_shift = decode_granule(field(vtcr, 15, 14), false);
    if (regime->granule_shift == 0) {
        return PIOMMU_WALKER_SETUP_GRANULE;
    }
    regime->input_bits = 64 - field(vtcr, 5, 0);
    regime->uses_lpa2 = field(vtcr, 32, 32);
    if (regime->uses_lpa2 && (!hardware->has_lpa2 || regime->granule_shift == 16)) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }
    regime->has_wide_identifiers = field(vtcr, 19, 19);
    decode_updates(regime, field(vtcr, 21, 21), field(vtcr, 22, 22));
    setup = decode_walk_attributes(regime, field(vtcr, 13, 8));
    if (setup == PIOMMU_WALKER_SETUP_OK) {
        setup = decode_output_size(regime, field(vtcr, 18, 16));
    }
    if (setup == PIOMMU_WALKER_SETUP_OK) {
        setup = decode_root_register(regime, vttbr);
    }
    if (setup != PIOMMU_WALKER_SETUP_OK) {
        return setup;
    }
    regime->start_level = decode_start_level(regime, field(vtcr, 33, 33), field(vtcr, 7, 6));
    return piommu_walker_validate(regime);
}

static void begin_aarch32(struct piommu_walker_regime *regime,
                          const struct piommu_walker_hardware *hardware, unsigned int stage)
{
    memset(regime, 0, sizeof(*regime));
    regime->format = PIOMMU_WALKER_FORMAT_AARCH32;
    regime->hardware = *hardware;
    regime->stage = stage;
    regime->granule_shift = 12;
    regime->output_bits = hardware->physical_bits < AARCH32_OUTPUT_BITS ? hardware->physical_bits
                                                                        : AARCH32_OUTPUT_BITS;
}

/* Identifiers have 8 bits, in 55:48 of the root's register. */
static enum piommu_walker_setup finish_aarch32(struct piommu_walker_regime *regime,
                                               uint64_t root_register)
{
    enum piommu_walker_setup setup = decode_root_register(regime, root_register);

    if (setup != PIOMMU_WALKER_SETUP_OK) {
        return setup;
    }
    if (regime->hardware.is_armv7 &&
        (regime->is_common_not_private || regime->root >> AARCH32_OUTPUT_BITS)) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }
    return piommu_walker_validate(regime);
}

/*
 * Which addresses of this half's range belong to the other one: a half whose size field is zero has
 * all that the other does not claim, and the lower half has all if both fields are zero.
 */
static unsigned int decode_other_half(unsigned int own_field, unsigned int other_field,
                                      bool is_upper_half)
{
    if (own_field != 0 || (other_field == 0 && !is_upper_half)) {
        return 0;
    }
    return AARCH32_INPUT_BITS - other_field;
}

enum piommu_walker_setup piommu_walker_regime_from_ttbcr(
    const struct piommu_walker_hardware *hardware, uint32_t ttbcr, uint64_t root_register,
    uint32_t mair0, uint32_t mair1, bool is_upper_half, struct piommu_walker_regime *regime)
{
    const unsigned int half = is_upper_half ? 16 : 0; /* distance of the T1SZ group of fields */
    const unsigned int size_field = field(ttbcr, 2 + half, half);
    enum piommu_walker_setup setup;

    begin_aarch32(regime, hardware, 1);
    regime->is_upper_half = is_upper_half;
    regime->mair = (uint64_t)mair1 << 32 | mair0;
    regime->mair_slots_in_use = 0xff;
    /* EAE = 0: short descriptors. T2E: there is more in TTBCR2. */
    if (!(ttbcr & BIT(31)) || ttbcr & BIT(6)) {
        return PIOMMU_WALKER_SETUP_UNSUPPORTED;
    }
    if (ttbcr & (bits_between(5, 3) | bits_between(15, 14) | bits_between(21, 19) | BIT(30))) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }
    regime->input_bits = AARCH32_INPUT_BITS - size_field;
    regime->other_half_bits =
        decode_other_half(size_field, field(ttbcr, 18 - half, 16 - half), is_upper_half);
    regime->is_disabled = field(ttbcr, 7 + half, 7 + half);
    regime->identifier_is_upper = field(ttbcr, 22, 22);
    setup = decode_walk_attributes(regime, field(ttbcr, 13 + half, 8 + half));
    if (setup != PIOMMU_WALKER_SETUP_OK) {
        return setup;
    }
    regime->start_level = stage1_start_level(regime);
    return finish_aarch32(regime, root_register);
}

enum piommu_walker_setup piommu_walker_regime_from_aarch32_vtcr(
    const struct piommu_walker_hardware *hardware, uint32_t vtcr, uint64_t vttbr,
    struct piommu_walker_regime *regime)
{
    const unsigned int size_field = field(vtcr, 3, 0); /* T0SZ: two's complement of four bits */
    enum piommu_walker_setup setup;

    begin_aarch32(regime, hardware, 2);
    if (vtcr & (BIT(5) | bits_between(30, 14)) || !(vtcr & BIT(31))) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }
    /* S has to repeat the sign of T0SZ. */
    if (field(vtcr, 4, 4) != field(vtcr, 3, 3)) {
        return PIOMMU_WALKER_SETUP_RESERVED_BITS;
    }
    regime->input_bits = AARCH32_INPUT_BITS + (size_field & 8) - (size_field & 7);
    setup = decode_walk_attributes(regime, field(vtcr, 13, 8));
    if (setup != PIOMMU_WALKER_SETUP_OK) {
        return setup;
    }
    /* The other two values of SL0 come out as levels that this format does not have. */
    regime->start_level = 2 - (int)field(vtcr, 7, 6);
    return finish_aarch32(regime, vttbr);
}

const char *piommu_walker_setup_name(enum piommu_walker_setup setup)
{
    static const char *const names[] = {
        [PIOMMU_WALKER_SETUP_OK] = "ok",
        [PIOMMU_WALKER_SETUP_UNSUPPORTED] = "unsupported mode",
        [PIOMMU_WALKER_SETUP_RESERVED_BITS] = "reserved register bits",
        [PIOMMU_WALKER_SETUP_GRANULE] = "illegal granule",
        [PIOMMU_WALKER_SETUP_INPUT_SIZE] = "illegal input size",
        [PIOMMU_WALKER_SETUP_OUTPUT_SIZE] = "illegal output size",
        [PIOMMU_WALKER_SETUP_START_LEVEL] = "illegal start level",
        [PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT] = "root not aligned",
        [PIOMMU_WALKER_SETUP_ROOT_ADDRESS] = "root beyond the output size",
    };

    return names[setup];
}

/*
 * Descriptors.
 */

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

/* The highest bit of a descriptor that is address bit of the same number. */
static unsigned int highest_address_bit(const struct piommu_walker_regime *regime)
{
    if (is_aarch32(regime) && regime->hardware.is_armv7) {
        return AARCH32_OUTPUT_BITS - 1;
    }
    return regime->uses_lpa2 ? 49 : 47;
}

static bool level_allows_blocks(const struct piommu_walker_regime *regime, int level)
{
    switch (regime->granule_shift) {
    case 12:
        return level == 1 || level == 2 || (level == 0 && regime->uses_lpa2);
    case 14:
        return level == 2 || (level == 1 && regime->uses_lpa2);
    default:
        return level == 2 || (level == 1 && regime->hardware.physical_bits == 52);
    }
}

static enum entry_kind decode_kind(const struct piommu_walker_regime *regime, int level,
                                   uint64_t descriptor)
{
    switch (descriptor & 3) {
    case 1:
        return level < 3 && level_allows_blocks(regime, level) ? ENTRY_LEAF : ENTRY_RESERVED;
    case 3:
        return level < 3 ? ENTRY_TABLE : ENTRY_LEAF;
    default:
        return ENTRY_INVALID;
    }
}

static struct entry decode_entry(const struct piommu_walker_regime *regime, int level,
                                 uint64_t descriptor)
{
    struct entry entry = {decode_kind(regime, level, descriptor), false, 0};
    unsigned int shift =
        entry.kind == ENTRY_LEAF ? piommu_walker_level_shift(regime, level) : regime->granule_shift;

    if (entry.kind != ENTRY_TABLE && entry.kind != ENTRY_LEAF) {
        return entry;
    }
    entry.address = descriptor & bits_between(highest_address_bit(regime), shift);
    if (regime->uses_lpa2) {
        entry.address |= (uint64_t)field(descriptor, 9, 8) << 50;
    }
    if (regime->granule_shift == 16) {
        uint64_t top = field(descriptor, 15, 12);

        if (regime->output_bits == 52) {
            entry.address |= top << 48;
        } else if (regime->hardware.physical_bits == 52 && top != 0) {
            entry.is_too_high = true;
        }
    }
    if (entry.address >> regime->output_bits) {
        entry.is_too_high = true;
    }
    return entry;
}

/* In AArch32, one XN bit is for both sides, and execution takes the right to read. */
static void decode_aarch32_execution(const struct piommu_walker_regime *regime, uint64_t descriptor,
                                     uint64_t inherited, struct piommu_walker_rights *privileged,
                                     struct piommu_walker_rights *unprivileged)
{
    bool is_executable = !(descriptor & LEAF_XN) && !(inherited & TABLE_NO_EXECUTE);

    privileged->execute = is_executable && privileged->read && !(descriptor & LEAF_PRIVILEGED_XN) &&
                          !(inherited & TABLE_NO_PRIVILEGED_EXECUTE);
    if (regime->unprivileged_write_implies_no_execute && unprivileged->write) {
        privileged->execute = false;
    }
    unprivileged->execute = is_executable && unprivileged->read;
}

/* What unprivileged code can write, privileged code never executes. */
static void decode_aarch64_execution(uint64_t descriptor, uint64_t inherited,
                                     struct piommu_walker_rights *privileged,
                                     struct piommu_walker_rights *unprivileged)
{
    privileged->execute = !(descriptor & LEAF_PRIVILEGED_XN) &&
                          !(inherited & TABLE_NO_PRIVILEGED_EXECUTE) && !unprivileged->write;
    unprivileged->execute =
        !(descriptor & LEAF_UNPRIVILEGED_XN) && !(inherited & TABLE_NO_UNPRIVILEGED_EXECUTE);
}

static void decode_stage1_rights(const struct piommu_walker_regime *regime, uint64_t descriptor,
                                 uint64_t inherited, struct piommu_walker_attributes *attributes)
{
    struct piommu_walker_rights *privileged = &attributes->privileged;
    struct piommu_walker_rights *unprivileged = &attributes->unprivileged;
    bool is_writable = !(descriptor & LEAF_AP_READ_ONLY);

    attributes->writable_clean = attributes->dirty_bit_modifier && !is_writable;
    attributes->dirty = attributes->dirty_bit_modifier && is_writable;
    if (attributes->writable_clean && regime->dirty_updates) {
        is_writable = true;
    }
    if (inherited & TABLE_NO_WRITE) {
        is_writable = false;
    }

    privileged->read = true;
    privileged->write = is_writable;
    unprivileged->read =
        (descriptor & LEAF_AP_UNPRIVILEGED) && !(inherited & TABLE_NO_UNPRIVILEGED_ACCESS);
    unprivileged->write = unprivileged->read && is_writable;
    if (is_aarch32(regime)) {
        decode_aarch32_execution(regime, descriptor, inherited, privileged, unprivileged);
    } else {
        decode_aarch64_execution(descriptor, inherited, privileged, unprivileged);
    }
    if (regime->write_implies_no_execute) {
        privileged->execute = privileged->execute && !privileged->write;
        unprivileged->execute = unprivileged->execute && !unprivileged->write;
    }
}

/* FEAT_XNX came long after Armv7. */
static bool has_execute_never_by_privilege(const struct piommu_walker_regime *regime)
{
    return regime->hardware.has_execute_never_by_privilege &&
           !(is_aarch32(regime) && regime->hardware.is_armv7);
}

static void decode_stage2_rights(const struct piommu_walker_regime *regime, uint64_t descriptor,
                                 struct piommu_walker_attributes *attributes)
{
    struct piommu_walker_rights *privileged = &attributes->privileged;
    struct piommu_walker_rights *unprivileged = &attributes->unprivileged;
    bool is_writable = descriptor & LEAF_S2AP_WRITE;

    attributes->writable_clean = attributes->dirty_bit_modifier && !is_writable;
    attributes->dirty = attributes->dirty_bit_modifier && is_writable;
    if (attributes->writable_clean && regime->dirty_updates) {
        is_writable = true;
    }

    privileged->read = descriptor & LEAF_S2AP_READ;
    privileged->write = is_writable;
    *unprivileged = *privileged;
    if (has_execute_never_by_privilege(regime)) {
        unsigned int execute_never = field(descriptor, 54, 53);

        unprivileged->execute = execute_never == 0 || execute_never == 1;
        privileged->execute = execute_never == 0 || execute_never == 3;
    } else {
        unprivileged->execute = !(descriptor & BIT(54));
        privileged->execute = unprivileged->execute;
    }
    if (is_aarch32(regime)) {
        unprivileged->execute = unprivileged->execute && unprivileged->read;
        privileged->execute = privileged->execute && privileged->read;
    }
}

static void decode_forced_memory_type(struct piommu_walker_attributes *attributes)
{
    switch (attributes->memory_index) {
    case 0:
    case 1:
    case 2:
    case 3:
        attributes->memory_type = (uint8_t)(attributes->memory_index << 2);
        break;
    case 5:
        attributes->memory_type = 0x44;
        break;
    case 6:
        attributes->memory_type = 0xff;
        break;
    case 7:
        attributes->memory_type_is_inherited = true;
        break;
    default:
        attributes->memory_type_is_reserved = true;
        break;
    }
}

/* Stage 2 names the type directly; it is turned into the MAIR byte that means the same. */
static void decode_stage2_memory_type(const struct piommu_walker_regime *regime,
                                      struct piommu_walker_attributes *attributes)
{
    static const unsigned int cacheability[4] = {0, 0x4, 0xb, 0xf};
    unsigned int outer = attributes->memory_index >> 2;
    unsigned int inner = attributes->memory_index & 3;

    if (regime->forced_write_back) {
        decode_forced_memory_type(attributes);
    } else if (outer == 0) {
        attributes->memory_type = (uint8_t)(inner << 2);
    } else if (inner == 0) {
        attributes->memory_type_is_reserved = true;
    } else {
        attributes->memory_type = (uint8_t)(cacheability[outer] << 4 | cacheability[inner]);
    }
}

/* Does the level have the nT bit? AArch32 never has. */
static bool level_has_no_translation(const struct piommu_walker_regime *regime, int level)
{
    return level < 3 && !is_aarch32(regime) && regime->hardware.break_before_make_level >= 1;
}

static void decode_attributes(const struct piommu_walker_regime *regime, int level,
                              uint64_t descriptor, uint64_t inherited,
                              struct piommu_walker_attributes *attributes)
{
    memset(attributes, 0, sizeof(*attributes));
    attributes->shareability =
        regime->uses_lpa2 ? regime->walk_shareability : field(descriptor, 9, 8);
    attributes->access_flag = descriptor & LEAF_ACCESS_FLAG;
    attributes->contiguous = descriptor & LEAF_CONTIGUOUS;
    attributes->dirty_bit_modifier = !is_aarch32(regime) && (descriptor & LEAF_DIRTY_MODIFIER);
    attributes->software_bits = field(descriptor, 58, 55);
    attributes->no_cache_entry =
        level_has_no_translation(regime, level) && (descriptor & LEAF_NO_TRANSLATION);
    if (regime->stage == 1) {
        attributes->memory_index = field(descriptor, 4, 2);
        attributes->memory_type = (uint8_t)(regime->mair >> (8 * attributes->memory_index));
        attributes->not_global = descriptor & LEAF_NOT_GLOBAL;
        attributes->non_secure = descriptor & LEAF_NON_SECURE;
        decode_stage1_rights(regime, descriptor, inherited, attributes);
    } else {
        attributes->memory_index = field(descriptor, 5, 2);
        decode_stage2_memory_type(regime, attributes);
        decode_stage2_rights(regime, descriptor, attributes);
    }
}

/* Bits 63:59 of a table descriptor restrict everything below, in stage 1 and unless disabled. */
static uint64_t table_attributes(const struct piommu_walker_regime *regime, uint64_t descriptor)
{
    if (regime->stage != 1 || regime->ignores_table_attributes) {
        return 0;
    }
    return descriptor & bits_between(63, 59);
}

bool piommu_walker_permits(const struct piommu_walker_attributes *attributes,
                           const struct piommu_walker_access *access)
{
    const struct piommu_walker_rights *rights =
        access->privileged ? &attributes->privileged : &attributes->unprivileged;

    return (!access->read || rights->read) && (!access->write || rights->write) &&
           (!access->execute || rights->execute);
}

/*
 * One walk.
 */

uint64_t piommu_walker_untagged_input(const struct piommu_walker_regime *regime, uint64_t input)
{
    if (!regime->ignores_top_byte) {
        return input;
    }
    return regime->is_upper_half ? input | bits_between(63, 56) : input & bits_below(56);
}

bool piommu_walker_input_is_in_range(const struct piommu_walker_regime *regime, uint64_t input)
{
    /* The distance from that end of the input range which always is this half's. */
    uint64_t distance = regime->is_upper_half ? ~input : input;

    if (is_aarch32(regime) && regime->stage == 1) {
        if (input >> AARCH32_INPUT_BITS) {
            return false;
        }
        distance &= bits_below(AARCH32_INPUT_BITS);
        if (regime->other_half_bits != 0 &&
            (distance | bits_below(regime->other_half_bits)) >= bits_below(AARCH32_INPUT_BITS)) {
            return false;
        }
    }
    return (distance & ~bits_below(regime->input_bits)) == 0;
}

/* Does the other half have all of this range? It lies at the end, so the ends tell. */
static bool is_out_of_reach(const struct piommu_walker_regime *regime, uint64_t input,
                            unsigned int shift)
{
    return !piommu_walker_input_is_in_range(regime, input) &&
           !piommu_walker_input_is_in_range(regime, input | bits_below(shift));
}

static uint64_t entry_location(const struct piommu_walker_regime *regime,
                               const struct piommu_walker_position *position, uint64_t input)
{
    uint64_t index = (input & bits_below(regime->input_bits)) >>
                     piommu_walker_level_shift(regime, position->level);

    /* Only the root may be larger than a granule: its index takes all the bits that are left. */
    if (position->level != regime->start_level) {
        index &= bits_below(index_bits(regime));
    }
    return position->table + 8 * index;
}

/* The descriptor as it stands after the updates that hardware makes for a permitted access. */
static uint64_t updated_descriptor(const struct piommu_walker_regime *regime, uint64_t descriptor,
                                   const struct piommu_walker_attributes *attributes,
                                   const struct piommu_walker_access *access)
{
    if (regime->access_flag_updates) {
        descriptor |= LEAF_ACCESS_FLAG;
    }
    if (regime->dirty_updates && access->write && attributes->writable_clean) {
        if (regime->stage == 1) {
            descriptor &= ~LEAF_AP_READ_ONLY;
        } else {
            descriptor |= LEAF_S2AP_WRITE;
        }
    }
    return descriptor;
}

/* Returns false if the descriptor changed under the walk, which has to start again. */
static bool finish_at_leaf(const struct piommu_walker_regime *regime,
                           const struct piommu_walker_memory *memory, uint64_t input,
                           const struct piommu_walker_access *access,
                           const struct piommu_walker_step *step, const struct entry *entry,
                           struct piommu_walker_result *result)
{
    uint64_t updated;

    result->leaf_shift = piommu_walker_level_shift(regime, step->level);
    result->output = entry->address | (input & bits_below(result->leaf_shift));
    result->descriptor = step->descriptor;
    decode_attributes(regime, step->level, step->descriptor, step->inherited, &result->attributes);
    if (!result->attributes.access_flag && !regime->access_flag_updates) {
        result->fault = PIOMMU_WALKER_FAULT_ACCESS_FLAG;
        return true;
    }
    if (!piommu_walker_permits(&result->attributes, access)) {
        result->fault = PIOMMU_WALKER_FAULT_PERMISSION;
        return true;
    }
    result->fault = PIOMMU_WALKER_FAULT_NONE;
    updated = updated_descriptor(regime, step->descriptor, &result->attributes, access);
    if (updated == step->descriptor) {
        return true;
    }
    if (memory->compare_exchange64 != NULL &&
        !memory->compare_exchange64(memory->ctx, step->location, step->descriptor, updated)) {
        return false;
    }
    result->descriptor = updated;
    decode_attributes(regime, step->level, updated, step->inherited, &result->attributes);
    return true;
}

static bool walk_once(const struct piommu_walker_regime *regime,
                      const struct piommu_walker_memory *memory, uint64_t input,
                      const struct piommu_walker_access *access,
                      struct piommu_walker_position position, struct piommu_walker_result *result)
{
    memset(result, 0, sizeof(*result));
    for (;; position.level++) {
        struct piommu_walker_step *step = &result->steps[result->step_count];
        struct entry entry;

        step->level = position.level;
        step->location = entry_location(regime, &position, input);
        result->level = position.level;
        if (!memory->read64(memory->ctx, step->location, &step->descriptor)) {
            result->fault = PIOMMU_WALKER_FAULT_WALK_ABORT;
            return true;
        }
        result->step_count++;
        step->inherited = position.inherited;
        entry = decode_entry(regime, position.level, step->descriptor);
        if (entry.kind == ENTRY_INVALID || entry.kind == ENTRY_RESERVED) {
            result->fault = PIOMMU_WALKER_FAULT_TRANSLATION;
            return true;
        }
        if (entry.is_too_high) {
            result->fault = PIOMMU_WALKER_FAULT_ADDRESS_SIZE;
            return true;
        }
        if (entry.kind == ENTRY_LEAF) {
            return finish_at_leaf(regime, memory, input, access, step, &entry, result);
        }
        step->is_table = true;
        step->next_table = entry.address;
        step->inherited |= table_attributes(regime, step->descriptor);
        position.table = entry.address;
        position.inherited = step->inherited;
    }
}

void piommu_walker_translate_from(const struct piommu_walker_regime *regime,
                                  const struct piommu_walker_memory *memory, uint64_t input,
                                  const struct piommu_walker_access *access,
                                  const struct piommu_walker_position *start,
                                  struct piommu_walker_result *result)
{
    enum piommu_walker_setup setup = piommu_walker_validate(regime);
    bool is_done = false;

    input = piommu_walker_untagged_input(regime, input);
    memset(result, 0, sizeof(*result));
    result->fault = PIOMMU_WALKER_FAULT_TRANSLATION;
    /* AArch32 has no fault status for a translation fault at level 0. */
    result->level = is_aarch32(regime) ? 1 : 0;
    if ((setup != PIOMMU_WALKER_SETUP_OK && setup != PIOMMU_WALKER_SETUP_ROOT_ADDRESS) ||
        regime->is_disabled || !piommu_walker_input_is_in_range(regime, input)) {
        return;
    }
    if (setup == PIOMMU_WALKER_SETUP_ROOT_ADDRESS) {
        result->fault = PIOMMU_WALKER_FAULT_ADDRESS_SIZE;
        result->level = 0;
        return;
    }
    while (!is_done) {
        is_done = walk_once(regime, memory, input, access, *start, result);
    }
}

void piommu_walker_translate(const struct piommu_walker_regime *regime,
                             const struct piommu_walker_memory *memory, uint64_t input,
                             const struct piommu_walker_access *access,
                             struct piommu_walker_result *result)
{
    const struct piommu_walker_position root = {regime->start_level, regime->root, 0};

    piommu_walker_translate_from(regime, memory, input, access, &root, result);
}

unsigned int piommu_walker_fault_status(enum piommu_walker_fault fault, int level)
{
    static const unsigned int base[] = {
        [PIOMMU_WALKER_FAULT_NONE] = 0,         [PIOMMU_WALKER_FAULT_TRANSLATION] = 4,
        [PIOMMU_WALKER_FAULT_ADDRESS_SIZE] = 0, [PIOMMU_WALKER_FAULT_ACCESS_FLAG] = 8,
        [PIOMMU_WALKER_FAULT_PERMISSION] = 12,  [PIOMMU_WALKER_FAULT_WALK_ABORT] = 20,
    };
    /* Level -1 has codes of its own, and none for leaves, which it cannot have. */
    static const unsigned int below[] = {
        [PIOMMU_WALKER_FAULT_NONE] = 0,
        [PIOMMU_WALKER_FAULT_TRANSLATION] = 0x2b,
        [PIOMMU_WALKER_FAULT_ADDRESS_SIZE] = 0x29,
        [PIOMMU_WALKER_FAULT_ACCESS_FLAG] = 0,
        [PIOMMU_WALKER_FAULT_PERMISSION] = 0,
        [PIOMMU_WALKER_FAULT_WALK_ABORT] = 0x13,
    };

    if (level < 0) {
        return below[fault];
    }
    return fault == PIOMMU_WALKER_FAULT_NONE ? 0 : base[fault] + (unsigned int)level;
}

const char *piommu_walker_fault_name(enum piommu_walker_fault fault)
{
    static const char *const names[] = {
        [PIOMMU_WALKER_FAULT_NONE] = "none",
        [PIOMMU_WALKER_FAULT_TRANSLATION] = "translation",
        [PIOMMU_WALKER_FAULT_ADDRESS_SIZE] = "address size",
        [PIOMMU_WALKER_FAULT_ACCESS_FLAG] = "access flag",
        [PIOMMU_WALKER_FAULT_PERMISSION] = "permission",
        [PIOMMU_WALKER_FAULT_WALK_ABORT] = "external abort on walk",
    };

    return names[fault];
}

/*
 * The structural checker.
 */

/* Physical addresses of the tables seen: open addressing, address + 1 so that 0 means "free". */
struct table_set {
    uint64_t *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

struct check {
    const struct piommu_walker_regime *regime;
    const struct piommu_walker_memory *memory;
    piommu_walker_is_table is_table;
    piommu_walker_report report;
    void *ctx;
    size_t problems;
    struct table_set seen;
};

/* A table being swept, and the input address of its first entry. */
struct sweep {
    struct piommu_walker_position position;
    uint64_t input;
    size_t entries;
};

static uint64_t *table_set_find(const struct table_set *set, uint64_t table)
{
    size_t slot = (size_t)((table >> 12) * UINT64_C(0x9e3779b97f4a7c15) >> 32);

    while (set->slots[slot & (set->capacity - 1)] != 0 &&
           set->slots[slot & (set->capacity - 1)] != table + 1) {
        slot++;
    }
    return &set->slots[slot & (set->capacity - 1)];
}

static bool table_set_grow(struct table_set *set)
{
    struct table_set larger = {NULL, set->capacity ? 2 * set->capacity : 64, set->count};

    larger.slots = calloc(larger.capacity, sizeof(*larger.slots));
    if (larger.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->slots[i] != 0) {
            *table_set_find(&larger, set->slots[i] - 1) = set->slots[i];
        }
    }
    free(set->slots);
    *set = larger;
    return true;
}

static void report_problem(struct check *check, enum piommu_walker_problem_kind kind, int level,
                           uint64_t input, uint64_t location, uint64_t descriptor)
{
    const struct piommu_walker_problem problem = {kind, level, input, location, descriptor};

    check->problems++;
    if (check->report != NULL) {
        check->report(check->ctx, &problem);
    }
}

/* One entry of a table being swept. */
struct spot {
    int level;
    uint64_t input;
    uint64_t location;
    uint64_t descriptor;
};

static void report_at(struct check *check, enum piommu_walker_problem_kind kind,
                      const struct spot *spot)
{
    report_problem(check, kind, spot->level, spot->input, spot->location, spot->descriptor);
}

static struct spot spot_at(const struct piommu_walker_regime *regime, const struct sweep *sweep,
                           size_t index)
{
    struct spot spot = {sweep->position.level, sweep->input, 0, 0};

    spot.input += (uint64_t)index << piommu_walker_level_shift(regime, spot.level);
    spot.location = sweep->position.table + 8 * (uint64_t)index;
    return spot;
}

static struct sweep root_sweep(const struct piommu_walker_regime *regime)
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

static struct sweep child_sweep(const struct piommu_walker_regime *regime,
                                const struct sweep *parent, const struct spot *spot, uint64_t table)
{
    struct sweep sweep = {{spot->level + 1, table, parent->position.inherited}, spot->input, 0};

    sweep.position.inherited |= table_attributes(regime, spot->descriptor);
    sweep.entries = (size_t)1 << index_bits(regime);
    return sweep;
}

/* Bits between the address and the upper attributes, with which AArch32 begins at bit 52. */
static uint64_t reserved_high_bits(const struct piommu_walker_regime *regime)
{
    return bits_between(is_aarch32(regime) ? 51 : 50, highest_address_bit(regime) + 1);
}

/* Address bits below the granule, where the 64K granule may keep address bits 51:48. */
static uint64_t reserved_low_bits(const struct piommu_walker_regime *regime, unsigned int shift)
{
    uint64_t reserved = bits_below(shift) & ~bits_below(12);

    if (regime->granule_shift == 16 && regime->output_bits == 52) {
        reserved &= ~bits_between(15, 12);
    }
    return reserved;
}

static uint64_t leaf_reserved_bits(const struct piommu_walker_regime *regime, int level)
{
    uint64_t reserved = reserved_low_bits(regime, piommu_walker_level_shift(regime, level));

    if (level_has_no_translation(regime, level)) {
        reserved &= ~LEAF_NO_TRANSLATION;
    }
    /*
     * Bit 50 guards branch targets of programs, which masters of an IOMMU are not. 62:59 (PBHA)
     * are ignored by some hardware, and by other hardware sent out on the bus.
     */
    reserved |= reserved_high_bits(regime) | bits_between(63, 59);
    if (regime->stage == 2) {
        reserved |= BIT(11);
        if (!has_execute_never_by_privilege(regime)) {
            reserved |= BIT(53);
        }
    }
    return reserved;
}

static void check_leaf_attributes(struct check *check, const struct spot *spot)
{
    const struct piommu_walker_regime *regime = check->regime;
    struct piommu_walker_attributes attributes;
    uint64_t reserved = leaf_reserved_bits(regime, spot->level);

    decode_attributes(regime, spot->level, spot->descriptor, 0, &attributes);
    if (regime->stage == 2 && field(spot->descriptor, 54, 53) == 3) {
        report_at(check, PIOMMU_WALKER_PROBLEM_EXECUTE_NEVER, spot);
        reserved &= ~BIT(53);
    }
    if (spot->descriptor & reserved) {
        report_at(check, PIOMMU_WALKER_PROBLEM_RESERVED_BITS, spot);
    }
    if (!attributes.access_flag && !regime->access_flag_updates) {
        report_at(check, PIOMMU_WALKER_PROBLEM_ACCESS_FLAG, spot);
    }
    if (attributes.shareability == 1 && !regime->uses_lpa2) {
        report_at(check, PIOMMU_WALKER_PROBLEM_SHAREABILITY, spot);
    }
    if (attributes.memory_type_is_reserved ||
        (regime->stage == 1 && !(regime->mair_slots_in_use >> attributes.memory_index & 1))) {
        report_at(check, PIOMMU_WALKER_PROBLEM_MEMORY_TYPE, spot);
    }
    if (attributes.writable_clean && !regime->dirty_updates) {
        report_at(check, PIOMMU_WALKER_PROBLEM_WRITABLE_CLEAN, spot);
    }
}

static void check_leaf(struct check *check, const struct spot *spot, const struct entry *entry)
{
    uint64_t last =
        entry->address | bits_below(piommu_walker_level_shift(check->regime, spot->level));

    check_leaf_attributes(check, spot);
    if (entry->is_too_high || last >> check->regime->output_bits) {
        report_at(check, PIOMMU_WALKER_PROBLEM_ADDRESS_SIZE, spot);
    }
    if ((spot->descriptor & LEAF_CONTIGUOUS) &&
        piommu_walker_contiguous_entries(check->regime, spot->level) == 0) {
        report_at(check, PIOMMU_WALKER_PROBLEM_CONTIGUOUS_LEVEL, spot);
    }
}

/* May the checker go down into this table? Reports the reason if not. */
static bool check_child_table(struct check *check, const struct spot *spot, uint64_t table)
{
    const struct piommu_walker_regime *regime = check->regime;
    uint64_t size = BIT(regime->granule_shift);
    uint64_t root_last = regime->root + piommu_walker_root_size(regime) - 1;
    uint64_t *slot;

    if (2 * (check->seen.count + 1) > check->seen.capacity && !table_set_grow(&check->seen)) {
        report_at(check, PIOMMU_WALKER_PROBLEM_OUT_OF_MEMORY, spot);
        return false;
    }
    slot = table_set_find(&check->seen, table);
    if (*slot != 0 || (table <= root_last && regime->root <= table + size - 1)) {
        report_at(check, PIOMMU_WALKER_PROBLEM_TABLE_SHARED, spot);
        return false;
    }
    *slot = table + 1;
    check->seen.count++;
    if (check->is_table != NULL && !check->is_table(check->ctx, table, size)) {
        report_at(check, PIOMMU_WALKER_PROBLEM_TABLE_OUTSIDE, spot);
        return false;
    }
    return true;
}

static void check_table_descriptor(struct check *check, const struct spot *spot)
{
    const struct piommu_walker_regime *regime = check->regime;
    uint64_t attributes = bits_between(63, 59);
    uint64_t reserved =
        reserved_high_bits(regime) | reserved_low_bits(regime, regime->granule_shift);

    if (regime->stage == 2) {
        reserved |= attributes;
    } else if (spot->descriptor & attributes) {
        report_at(check, PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES, spot);
    }
    if (spot->descriptor & reserved) {
        report_at(check, PIOMMU_WALKER_PROBLEM_RESERVED_BITS, spot);
    }
}

/* What all members of a contiguous group have in common. */
static uint64_t group_attribute_bits(const struct piommu_walker_regime *regime, int level,
                                     uint64_t descriptor)
{
    uint64_t bits = bits_between(11, 2) | bits_between(63, highest_address_bit(regime) + 1);

    if (regime->uses_lpa2) {
        bits &= ~bits_between(9, 8);
    }
    /* Software bits are nobody else's business, and hardware updates one member at a time. */
    bits &= ~bits_between(58, 55);
    if (level < 3) {
        bits |= LEAF_NO_TRANSLATION;
    }
    if (regime->access_flag_updates) {
        bits &= ~LEAF_ACCESS_FLAG;
    }
    if (regime->dirty_updates && (descriptor & LEAF_DIRTY_MODIFIER)) {
        bits &= ~LEAF_AP_READ_ONLY; /* and the same bit of stage 2, LEAF_S2AP_WRITE */
    }
    return bits;
}

struct group_verdict {
    uint64_t leader; /* the descriptor of the first member */
    bool is_marked;  /* some member has the Contiguous bit */
    bool is_mixed;
    bool has_wrong_address;
    bool has_wrong_attributes;
};

static bool judge_group(const struct check *check, const struct sweep *sweep, size_t first,
                        size_t count, struct group_verdict *verdict)
{
    const struct piommu_walker_regime *regime = check->regime;
    int level = sweep->position.level;
    unsigned int shift = piommu_walker_level_shift(regime, level);

    memset(verdict, 0, sizeof(*verdict));
    for (size_t i = 0; i < count; i++) {
        struct spot spot = spot_at(regime, sweep, first + i);
        struct entry entry;
        uint64_t expected;

        if (!check->memory->read64(check->memory->ctx, spot.location, &spot.descriptor)) {
            return false;
        }
        if (i == 0) {
            verdict->leader = spot.descriptor;
        }
        entry = decode_entry(regime, level, spot.descriptor);
        if (entry.kind != ENTRY_LEAF || !(spot.descriptor & LEAF_CONTIGUOUS)) {
            verdict->is_mixed = true;
            continue;
        }
        verdict->is_marked = true;
        expected = decode_entry(regime, level, verdict->leader).address;
        if (i == 0 ? (entry.address >> shift) % count != 0
                   : entry.address != expected + ((uint64_t)i << shift)) {
            verdict->has_wrong_address = true;
        }
        if ((spot.descriptor ^ verdict->leader) &
            group_attribute_bits(regime, level, verdict->leader)) {
            verdict->has_wrong_attributes = true;
        }
    }
    return true;
}

static void check_groups(struct check *check, const struct sweep *sweep)
{
    size_t size = piommu_walker_contiguous_entries(check->regime, sweep->position.level);

    for (size_t first = 0; size != 0 && first < sweep->entries; first += size) {
        struct spot spot = spot_at(check->regime, sweep, first);
        size_t count = sweep->entries < size ? sweep->entries : size;
        struct group_verdict verdict;

        if (!judge_group(check, sweep, first, count, &verdict)) {
            return;
        }
        if (!verdict.is_marked) {
            continue;
        }
        spot.descriptor = verdict.leader;
        if (count < size) {
            report_at(check, PIOMMU_WALKER_PROBLEM_CONTIGUOUS_RANGE, &spot);
        } else if (verdict.is_mixed) {
            report_at(check, PIOMMU_WALKER_PROBLEM_CONTIGUOUS_MIXED, &spot);
        }
        if (verdict.is_mixed || count < size) {
            continue;
        }
        if (verdict.has_wrong_address) {
            report_at(check, PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ADDRESS, &spot);
        }
        if (verdict.has_wrong_attributes) {
            report_at(check, PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ATTRIBUTES, &spot);
        }
    }
}

static void check_reserved(struct check *check, const struct spot *spot)
{
    report_at(check,
              spot->level == 3 ? PIOMMU_WALKER_PROBLEM_PAGE_TYPE
                               : PIOMMU_WALKER_PROBLEM_BLOCK_LEVEL,
              spot);
}

/* Does the descriptor lead to a table that can be? */
static bool check_link(struct check *check, const struct spot *spot, const struct entry *entry)
{
    check_table_descriptor(check, spot);
    if (entry->is_too_high) {
        report_at(check, PIOMMU_WALKER_PROBLEM_ADDRESS_SIZE, spot);
    }
    return !entry->is_too_high;
}

static void check_table(struct check *check, const struct sweep *sweep);

static void check_entry(struct check *check, const struct sweep *sweep, const struct spot *spot)
{
    struct entry entry = decode_entry(check->regime, spot->level, spot->descriptor);
    struct sweep child;

    switch (entry.kind) {
    case ENTRY_INVALID:
        return;
    case ENTRY_RESERVED:
        check_reserved(check, spot);
        return;
    case ENTRY_LEAF:
        check_leaf(check, spot, &entry);
        return;
    case ENTRY_TABLE:
        break;
    }
    if (!check_link(check, spot, &entry) || !check_child_table(check, spot, entry.address)) {
        return;
    }
    child = child_sweep(check->regime, sweep, spot, entry.address);
    check_table(check, &child);
}

/* Calls itself through check_entry(), one level further down each time. */
static void check_table(struct check *check, const struct sweep *sweep)
{
    for (size_t i = 0; i < sweep->entries; i++) {
        struct spot spot = spot_at(check->regime, sweep, i);

        if (!check->memory->read64(check->memory->ctx, spot.location, &spot.descriptor)) {
            report_at(check, PIOMMU_WALKER_PROBLEM_TABLE_UNREADABLE, &spot);
            return;
        }
        check_entry(check, sweep, &spot);
    }
    check_groups(check, sweep);
}

size_t piommu_walker_check(const struct piommu_walker_regime *regime,
                           const struct piommu_walker_memory *memory,
                           piommu_walker_is_table is_table, piommu_walker_report report, void *ctx)
{
    struct check check = {regime, memory, is_table, report, ctx, 0, {NULL, 0, 0}};
    struct sweep root;

    if (piommu_walker_validate(regime) != PIOMMU_WALKER_SETUP_OK) {
        report_problem(&check, PIOMMU_WALKER_PROBLEM_REGIME, regime->start_level, 0, regime->root,
                       0);
        return check.problems;
    }
    root = root_sweep(regime);
    if (is_table != NULL && !is_table(ctx, regime->root, piommu_walker_root_size(regime))) {
        report_problem(&check, PIOMMU_WALKER_PROBLEM_TABLE_OUTSIDE, regime->start_level, root.input,
                       regime->root, 0);
    } else {
        check_table(&check, &root);
    }
    free(check.seen.slots);
    return check.problems;
}

size_t piommu_walker_check_descriptor(const struct piommu_walker_regime *regime, int level,
                                      uint64_t input, uint64_t descriptor,
                                      piommu_walker_report report, void *ctx)
{
    struct check check = {regime, NULL, NULL, report, ctx, 0, {NULL, 0, 0}};
    struct spot spot = {level, input, 0, descriptor};
    struct entry entry = decode_entry(regime, level, descriptor);

    switch (entry.kind) {
    case ENTRY_INVALID:
        break;
    case ENTRY_RESERVED:
        check_reserved(&check, &spot);
        break;
    case ENTRY_LEAF:
        check_leaf(&check, &spot, &entry);
        break;
    case ENTRY_TABLE:
        check_link(&check, &spot, &entry);
        break;
    }
    return check.problems;
}

const char *piommu_walker_problem_name(enum piommu_walker_problem_kind kind)
{
    static const char *const names[] = {
        [PIOMMU_WALKER_PROBLEM_REGIME] = "illegal regime",
        [PIOMMU_WALKER_PROBLEM_BLOCK_LEVEL] = "block at a level without blocks",
        [PIOMMU_WALKER_PROBLEM_PAGE_TYPE] = "reserved descriptor type at level 3",
        [PIOMMU_WALKER_PROBLEM_RESERVED_BITS] = "reserved bits set",
        [PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES] = "attributes in a table descriptor",
        [PIOMMU_WALKER_PROBLEM_ADDRESS_SIZE] = "address beyond the output size",
        [PIOMMU_WALKER_PROBLEM_TABLE_SHARED] = "table reached twice",
        [PIOMMU_WALKER_PROBLEM_TABLE_OUTSIDE] = "table outside of table memory",
        [PIOMMU_WALKER_PROBLEM_TABLE_UNREADABLE] = "table not readable",
        [PIOMMU_WALKER_PROBLEM_ACCESS_FLAG] = "access flag clear",
        [PIOMMU_WALKER_PROBLEM_SHAREABILITY] = "reserved shareability",
        [PIOMMU_WALKER_PROBLEM_MEMORY_TYPE] = "memory type not in use or reserved",
        [PIOMMU_WALKER_PROBLEM_EXECUTE_NEVER] = "XN = 11 in stage 2",
        [PIOMMU_WALKER_PROBLEM_WRITABLE_CLEAN] = "writable-clean without dirty updates",
        [PIOMMU_WALKER_PROBLEM_CONTIGUOUS_LEVEL] = "contiguous at a level without groups",
        [PIOMMU_WALKER_PROBLEM_CONTIGUOUS_RANGE] = "contiguous group beyond the input range",
        [PIOMMU_WALKER_PROBLEM_CONTIGUOUS_MIXED] = "contiguous group incomplete",
        [PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ADDRESS] =
            "contiguous group not consecutive or not aligned",
        [PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ATTRIBUTES] =
            "contiguous group with differing attributes",
        [PIOMMU_WALKER_PROBLEM_OUT_OF_MEMORY] = "checker out of memory",
    };

    return names[kind];
}

/*
 * All leaves, and all links.
 */

struct tour {
    const struct piommu_walker_regime *regime;
    const struct piommu_walker_memory *memory;
    /* Either may be NULL. */
    piommu_walker_visit visit_leaf;
    piommu_walker_visit_link visit_link;
    void *ctx;
    bool is_incomplete; /* a table could not be read */
};

static bool visit_leaf(const struct tour *tour, const struct sweep *sweep, const struct spot *spot,
                       uint64_t output)
{
    struct piommu_walker_leaf leaf;

    if (tour->visit_leaf == NULL) {
        return true;
    }
    memset(&leaf, 0, sizeof(leaf));
    leaf.input = spot->input;
    leaf.output = output;
    leaf.shift = piommu_walker_level_shift(tour->regime, spot->level);
    leaf.level = spot->level;
    leaf.location = spot->location;
    leaf.descriptor = spot->descriptor;
    decode_attributes(tour->regime, spot->level, spot->descriptor, sweep->position.inherited,
                      &leaf.attributes);
    return tour->visit_leaf(tour->ctx, &leaf);
}

static bool visit_link(const struct tour *tour, const struct sweep *child, const struct spot *spot)
{
    const struct piommu_walker_link link = {spot->input, spot->level, spot->location,
                                            spot->descriptor, child->position};

    return tour->visit_link == NULL || tour->visit_link(tour->ctx, &link);
}

/* Calls itself one level further down each time. Returns false if a visitor ended the sweep. */
static bool visit_table(struct tour *tour, const struct sweep *sweep)
{
    unsigned int shift = piommu_walker_level_shift(tour->regime, sweep->position.level);

    for (size_t i = 0; i < sweep->entries; i++) {
        struct spot spot = spot_at(tour->regime, sweep, i);
        struct entry entry;

        if (!tour->memory->read64(tour->memory->ctx, spot.location, &spot.descriptor)) {
            tour->is_incomplete = true;
            return true;
        }
        entry = decode_entry(tour->regime, spot.level, spot.descriptor);
        if (entry.is_too_high || is_out_of_reach(tour->regime, spot.input, shift)) {
            continue;
        }
        if (entry.kind == ENTRY_LEAF) {
            if (!visit_leaf(tour, sweep, &spot, entry.address)) {
                return false;
            }
        } else if (entry.kind == ENTRY_TABLE) {
            struct sweep child = child_sweep(tour->regime, sweep, &spot, entry.address);

            if (!visit_link(tour, &child, &spot) || !visit_table(tour, &child)) {
                return false;
            }
        }
    }
    return true;
}

static bool make_tour(struct tour *tour)
{
    struct sweep root;

    if (piommu_walker_validate(tour->regime) != PIOMMU_WALKER_SETUP_OK) {
        return false;
    }
    if (tour->regime->is_disabled) {
        return true;
    }
    root = root_sweep(tour->regime);
    return visit_table(tour, &root) && !tour->is_incomplete;
}

bool piommu_walker_for_each_link(const struct piommu_walker_regime *regime,
                                 const struct piommu_walker_memory *memory,
                                 piommu_walker_visit_link visit, void *ctx)
{
    struct tour tour = {regime, memory, NULL, visit, ctx, false};

    return make_tour(&tour);
}

bool piommu_walker_for_each_leaf(const struct piommu_walker_regime *regime,
                                 const struct piommu_walker_memory *memory,
                                 piommu_walker_visit visit, void *ctx)
{
    struct tour tour = {regime, memory, visit, NULL, ctx, false};

    return make_tour(&tour);
}
