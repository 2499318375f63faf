/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* How tables are to be read: what register values say, and what the architecture permits. */

#include "internal.h"

#include <string.h>

/* No level has this number: a reserved encoding of the start level. */
#define LEVEL_RESERVED 4

unsigned int piommu_walker_level_shift(const struct piommu_walker_regime *regime, int level)
{
    return level_shift(regime, level);
}

uint64_t piommu_walker_root_size(const struct piommu_walker_regime *regime)
{
    return UINT64_C(8) << (regime->input_bits - level_shift(regime, regime->start_level));
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
           regime->input_bits > level_shift(regime, level) + index_bits(regime)) {
        level--;
    }
    return level;
}

/* Stage 2 says where it starts, and up to 16 tables may lie side by side there. */
static bool stage2_start_level_is_legal(const struct piommu_walker_regime *regime)
{
    unsigned int shift = level_shift(regime, regime->start_level);
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
