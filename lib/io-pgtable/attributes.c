/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Attribute bits of leaves: from a prot and back.
 *
 * A prot has two parts that do not depend on each other: who may do what, and what kind of memory
 * it is. The bits of each are computed once per table; a call combines one of either.
 */

#include "attributes.h"

static uint64_t stage1_access(const struct piommu_pgtable *table, piommu_prot prot)
{
    bool write = (prot & PIOMMU_PROT_WRITE) != 0;
    bool privileged_only = (prot & PIOMMU_PROT_PRIVILEGED) != 0;
    bool execute = (prot & PIOMMU_PROT_EXECUTE) != 0;
    bool execute_privileged = (prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0;
    uint64_t bits = LEAF_ACCESS_FLAG;

    /* Stage 1 always lets the privileged side read. */
    if ((prot & PIOMMU_PROT_READ) == 0) {
        return 0;
    }
    if (execute && privileged_only) {
        return 0;
    }
    /* What unprivileged transactions can write, privileged ones cannot execute. */
    if (execute_privileged && write && !privileged_only) {
        return 0;
    }
    /* The 32-bit format has no way to forbid execution to the unprivileged side alone. */
    if (pgtable_is_32bit(table) && execute_privileged && !privileged_only && !execute) {
        return 0;
    }
    if (!privileged_only) {
        bits |= LEAF_S1_UNPRIVILEGED;
    }
    if (!write) {
        bits |= LEAF_S1_READ_ONLY;
    }
    if (!execute_privileged) {
        bits |= LEAF_S1_PRIVILEGED_NO_EXEC;
    }
    if (!execute && !(pgtable_is_32bit(table) && execute_privileged)) {
        bits |= LEAF_S1_NO_EXEC;
    }
    return bits;
}

static uint64_t stage2_access(const struct piommu_pgtable *table, piommu_prot prot)
{
    uint64_t bits = LEAF_ACCESS_FLAG;

    /* Stage 2 does not tell privileged from unprivileged data accesses. */
    if ((prot & PIOMMU_PROT_PRIVILEGED) != 0) {
        return 0;
    }
    if ((prot & PIOMMU_PROT_READ) != 0) {
        bits |= LEAF_S2_READ;
    }
    if ((prot & PIOMMU_PROT_WRITE) != 0) {
        bits |= LEAF_S2_WRITE;
    }
    switch (prot & PIOMMU_PROT_EXECUTE_ALL) {
    case 0:
        return bits | LEAF_S2_EXEC_NONE;
    case PIOMMU_PROT_EXECUTE_ALL:
        /* The 32-bit format makes a fetch depend on the right to read; the 64-bit one does not. */
        if (pgtable_is_32bit(table) && (prot & PIOMMU_PROT_READ) == 0) {
            return 0;
        }
        return bits | LEAF_S2_EXEC_ALL;
    case PIOMMU_PROT_EXECUTE:
        bits |= LEAF_S2_EXEC_UNPRIVILEGED;
        break;
    default:
        bits |= LEAF_S2_EXEC_PRIVILEGED;
        break;
    }
    return (table->info.flags & PIOMMU_PGTABLE_XNX) != 0 ? bits : 0;
}

/* The field that says what kind of memory a leaf leads to, and its values. */

static uint64_t memory_mask(const struct piommu_pgtable *table)
{
    return pgtable_is_stage1(table) ? LEAF_S1_MEMORY_MASK : LEAF_S2_MEMORY_MASK;
}

static uint64_t device_memory(const struct piommu_pgtable *table)
{
    return pgtable_is_stage1(table) ? S1_DEVICE << LEAF_S1_MEMORY_SHIFT
                                    : S2_DEVICE << LEAF_S2_MEMORY_SHIFT;
}

static uint64_t noncacheable_memory(const struct piommu_pgtable *table)
{
    return pgtable_is_stage1(table) ? S1_NONCACHEABLE << LEAF_S1_MEMORY_SHIFT
                                    : S2_NONCACHEABLE << LEAF_S2_MEMORY_SHIFT;
}

static uint64_t cacheable_memory(const struct piommu_pgtable *table)
{
    if (pgtable_is_stage1(table)) {
        return S1_CACHEABLE << LEAF_S1_MEMORY_SHIFT;
    }
    return ((table->info.flags & PIOMMU_PGTABLE_FORCE_WRITE_BACK) != 0 ? S2_FORCED : S2_CACHEABLE)
           << LEAF_S2_MEMORY_SHIFT;
}

static uint64_t default_shareability(const struct piommu_pgtable *table)
{
    return leaves_share_alike(table) && !table->coherent_walk ? SHAREABILITY_OUTER
                                                              : SHAREABILITY_INNER;
}

/* The shareability that a prot asks for, of cacheable memory. */
static uint64_t wanted_shareability(const struct piommu_pgtable *table, piommu_prot prot)
{
    switch (prot & PIOMMU_PROT_SHARE_MASK) {
    case PIOMMU_PROT_SHARE_NONE:
        return SHAREABILITY_NONE;
    case PIOMMU_PROT_SHARE_OUTER:
        return SHAREABILITY_OUTER;
    case PIOMMU_PROT_SHARE_INNER:
        return SHAREABILITY_INNER;
    default:
        return default_shareability(table);
    }
}

static uint64_t memory(const struct piommu_pgtable *table, piommu_prot prot)
{
    bool stage1 = pgtable_is_stage1(table);
    bool device = (prot & PIOMMU_PROT_DEVICE) != 0;
    bool noncacheable = (prot & PIOMMU_PROT_NONCACHEABLE) != 0;
    piommu_prot share = prot & PIOMMU_PROT_SHARE_MASK;
    uint64_t bits = LEAF_ACCESS_FLAG; /* never 0, which would say "cannot be expressed" */
    uint64_t shareability;

    if ((device && noncacheable) || (!stage1 && (prot & PIOMMU_PROT_GLOBAL) != 0)) {
        return 0;
    }
    if (device || noncacheable) {
        /* Hardware takes such memory as outer shareable, whatever the field says. */
        if (share != 0 && share != PIOMMU_PROT_SHARE_OUTER) {
            return 0;
        }
        shareability = SHAREABILITY_OUTER;
        bits |= device ? device_memory(table) : noncacheable_memory(table);
    } else {
        shareability = wanted_shareability(table, prot);
        if (leaves_share_alike(table) && shareability != default_shareability(table)) {
            return 0;
        }
        bits |= cacheable_memory(table);
    }
    if (!leaves_share_alike(table)) {
        bits |= shareability << LEAF_SHAREABILITY_SHIFT;
    }
    if (stage1 && (prot & PIOMMU_PROT_GLOBAL) == 0) {
        bits |= LEAF_S1_NOT_GLOBAL;
    }
    if ((table->info.flags & PIOMMU_PGTABLE_NON_SECURE) != 0) {
        bits |= LEAF_S1_NON_SECURE;
    }
    return bits;
}

/* A leaf that is tracked and clean looks read-only, but is not, if hardware minds the modifier. */
static bool allows_first_write(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return (table->info.flags & PIOMMU_PGTABLE_DIRTY) != 0 &&
           (descriptor & LEAF_DIRTY_MODIFIER) != 0;
}

static piommu_prot stage1_prot(const struct piommu_pgtable *table, uint64_t descriptor)
{
    bool no_exec = (descriptor & LEAF_S1_NO_EXEC) != 0;
    bool no_privileged_exec = (descriptor & LEAF_S1_PRIVILEGED_NO_EXEC) != 0;
    piommu_prot prot = PIOMMU_PROT_READ;

    if ((descriptor & LEAF_S1_READ_ONLY) == 0 || allows_first_write(table, descriptor)) {
        prot |= PIOMMU_PROT_WRITE;
    }
    if (pgtable_is_32bit(table)) {
        /* Execution needs the right to read, and what forbids it forbids it to all. */
        no_privileged_exec = no_privileged_exec || no_exec;
        no_exec = no_exec || (descriptor & LEAF_S1_UNPRIVILEGED) == 0;
    }
    if ((descriptor & LEAF_S1_UNPRIVILEGED) == 0) {
        prot |= PIOMMU_PROT_PRIVILEGED;
    }
    if (!no_exec) {
        prot |= PIOMMU_PROT_EXECUTE;
    }
    if (!no_privileged_exec) {
        prot |= PIOMMU_PROT_EXECUTE_PRIVILEGED;
    }
    if ((descriptor & LEAF_S1_NOT_GLOBAL) == 0) {
        prot |= PIOMMU_PROT_GLOBAL;
    }
    return prot;
}

static piommu_prot stage2_prot(const struct piommu_pgtable *table, uint64_t descriptor)
{
    uint64_t exec = descriptor & LEAF_S2_EXEC_MASK;
    piommu_prot prot = 0;

    if ((descriptor & LEAF_S2_READ) != 0) {
        prot |= PIOMMU_PROT_READ;
    }
    if ((descriptor & LEAF_S2_WRITE) != 0 || allows_first_write(table, descriptor)) {
        prot |= PIOMMU_PROT_WRITE;
    }
    if ((table->info.flags & PIOMMU_PGTABLE_XNX) == 0) {
        exec &= LEAF_S2_EXEC_NONE; /* bit 54 alone decides */
    }
    if (exec == LEAF_S2_EXEC_ALL) {
        prot |= PIOMMU_PROT_EXECUTE_ALL;
    } else if (exec == LEAF_S2_EXEC_UNPRIVILEGED) {
        prot |= PIOMMU_PROT_EXECUTE;
    } else if (exec == LEAF_S2_EXEC_PRIVILEGED) {
        prot |= PIOMMU_PROT_EXECUTE_PRIVILEGED;
    }
    return prot;
}

static piommu_prot leaf_prot(const struct piommu_pgtable *table, uint64_t descriptor)
{
    piommu_prot prot =
        pgtable_is_stage1(table) ? stage1_prot(table, descriptor) : stage2_prot(table, descriptor);
    uint64_t kind = descriptor & memory_mask(table);

    if (kind == device_memory(table)) {
        prot |= PIOMMU_PROT_DEVICE;
    } else if (kind == noncacheable_memory(table)) {
        prot |= PIOMMU_PROT_NONCACHEABLE;
    } else if (!leaves_share_alike(table)) {
        switch ((descriptor & LEAF_SHAREABILITY_MASK) >> LEAF_SHAREABILITY_SHIFT) {
        case SHAREABILITY_NONE:
            prot |= PIOMMU_PROT_SHARE_NONE;
            break;
        case SHAREABILITY_OUTER:
            prot |= PIOMMU_PROT_SHARE_OUTER;
            break;
        default:
            break;
        }
    }
    return prot | ((piommu_prot)(descriptor >> LEAF_SOFTWARE_SHIFT) & PIOMMU_PROT_SOFTWARE_MASK);
}

/*
 * Fills in the tables of pgtable_leaf_prot: the low bits are decoded in leaves that nobody may
 * execute, the high ones in leaves that nobody may write but for those same bits.
 */
static void set_decoded(struct piommu_pgtable *table)
{
    const piommu_prot by_high =
        PIOMMU_PROT_EXECUTE_ALL | PIOMMU_PROT_WRITE | PIOMMU_PROT_SOFTWARE_MASK;
    bool stage1 = pgtable_is_stage1(table);
    uint64_t unexecutable =
        stage1 ? LEAF_S1_NO_EXEC | LEAF_S1_PRIVILEGED_NO_EXEC : LEAF_S2_EXEC_NONE;
    uint64_t unwritable = stage1 ? LEAF_S1_READ_ONLY | LEAF_S1_UNPRIVILEGED : 0;

    for (uint64_t i = 0; i < LOW_DECODED; i++) {
        uint64_t leaf = (i << 2) | LEAF_S1_NOT_GLOBAL | unexecutable;

        table->prot_of_low[i] = (uint16_t)leaf_prot(table, leaf);
    }
    for (uint64_t i = 0; i < HIGH_DECODED; i++) {
        uint64_t leaf = (i << 51) | LEAF_S1_NOT_GLOBAL | unwritable;

        table->prot_of_high[i] = (uint16_t)(leaf_prot(table, leaf) & by_high);
    }
    table->global_flag = stage1 ? PIOMMU_PROT_GLOBAL : 0;
    table->not_if_privileged = stage1 && pgtable_is_32bit(table) ? PIOMMU_PROT_EXECUTE : 0;
}

void piommu_pgtable_set_attributes_(struct piommu_pgtable *table)
{
    for (piommu_prot access = 0; access < ACCESS_VALUES; access++) {
        /* A mapping that allows nothing is none. */
        if ((access & (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE_ALL)) != 0) {
            table->access_attributes[access] = pgtable_is_stage1(table)
                                                   ? stage1_access(table, access)
                                                   : stage2_access(table, access);
            table->info.access_values |= (uint32_t)(table->access_attributes[access] != 0)
                                         << access;
        }
    }
    for (piommu_prot kind = 0; kind < MEMORY_VALUES; kind++) {
        table->memory_attributes[kind] = memory(table, kind << MEMORY_SHIFT);
        table->info.memory_values |= (uint32_t)(table->memory_attributes[kind] != 0) << kind;
    }
    set_decoded(table);
    table->link_attributes = DESCRIPTOR_TABLE;
    if ((table->info.flags & PIOMMU_PGTABLE_NON_SECURE) != 0) {
        table->link_attributes |= LINK_S1_NON_SECURE;
    }
}
