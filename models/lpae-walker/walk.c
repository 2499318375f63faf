/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* One walk. */

#include "internal.h"

#include <string.h>

bool piommu_walker_permits(const struct piommu_walker_attributes *attributes,
                           const struct piommu_walker_access *access)
{
    const struct piommu_walker_rights *rights =
        access->privileged ? &attributes->privileged : &attributes->unprivileged;

    return (!access->read || rights->read) && (!access->write || rights->write) &&
           (!access->execute || rights->execute);
}

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

static uint64_t entry_location(const struct piommu_walker_regime *regime,
                               const struct piommu_walker_position *position, uint64_t input)
{
    uint64_t index =
        (input & bits_below(regime->input_bits)) >> level_shift(regime, position->level);

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

    result->leaf_shift = level_shift(regime, step->level);
    result->output = entry->address | (input & bits_below(result->leaf_shift));
    result->descriptor = step->descriptor;
    piommu_walker_decode_attributes_(regime, step->level, step->descriptor, step->inherited,
                                     &result->attributes);
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
    piommu_walker_decode_attributes_(regime, step->level, updated, step->inherited,
                                     &result->attributes);
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
        entry = piommu_walker_decode_entry_(regime, position.level, step->descriptor);
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
