/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What a descriptor is, and what a leaf says. */

#include "internal.h"

#include <string.h>

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

struct entry piommu_walker_decode_entry_(const struct piommu_walker_regime *regime, int level,
                                         uint64_t descriptor)
{
    struct entry entry = {decode_kind(regime, level, descriptor), false, 0};
    unsigned int shift =
        entry.kind == ENTRY_LEAF ? level_shift(regime, level) : regime->granule_shift;

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

void piommu_walker_decode_attributes_(const struct piommu_walker_regime *regime, int level,
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
