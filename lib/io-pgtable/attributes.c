/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Attribute bits of leaves: from a prot and back.
 *
 * A prot has two parts that do not depend on each other: who may do what, and what kind of memory
 * it is. The bits of each are computed once per table; a call combines one of either.
 *
 * Source: Arm ARM, VMSAv8-64: "Attribute fields in VMSAv8-64 translation table format descriptors",
 * "Stage 2 memory region attributes", "Stage 2 forced write-back"; VMSAv8-32: "Attribute fields in
 * VMSAv8-32 Long-descriptor format stage 1 (and 2) Block and Page descriptors".
 */

#include "pgtable.h"

#include "inspect.h"

/* Both stages. */
#define LEAF_SHAREABILITY_SHIFT 8
#define LEAF_SHAREABILITY_MASK  (3ull << LEAF_SHAREABILITY_SHIFT)
#define LEAF_ACCESS_FLAG        (1ull << 10)
#define LEAF_WRITTEN            (1ull << 7) /* AP[2] and S2AP[1], where hardware notes writes */
#define LEAF_DIRTY_MODIFIER     (1ull << 51)
#define LEAF_SOFTWARE_MASK      (7ull << 56)
/* Free for software; this library uses the other three. */
#define LEAF_SOFTWARE_SPARE (1ull << 55)

/* Stage 1. */
#define LEAF_S1_MEMORY_SHIFT       2
#define LEAF_S1_MEMORY_MASK        (7ull << LEAF_S1_MEMORY_SHIFT)
#define LEAF_S1_NON_SECURE         (1ull << 5)
#define LEAF_S1_UNPRIVILEGED       (1ull << 6) /* AP[1] */
#define LEAF_S1_READ_ONLY          (1ull << 7) /* AP[2] */
#define LEAF_S1_NOT_GLOBAL         (1ull << 11)
#define LEAF_S1_PRIVILEGED_NO_EXEC (1ull << 53)
/* 64-bit: for unprivileged transactions; 32-bit: for all. */
#define LEAF_S1_NO_EXEC    (1ull << 54)
#define LINK_S1_NON_SECURE (1ull << 63)

/* Slots of MAIR; the values are in format.c. */
#define S1_NONCACHEABLE 0ull
#define S1_CACHEABLE    1ull
#define S1_DEVICE       2ull

/* Stage 2. */
#define LEAF_S2_MEMORY_SHIFT 2
#define LEAF_S2_MEMORY_MASK  (0xfull << LEAF_S2_MEMORY_SHIFT)
#define LEAF_S2_READ         (1ull << 6)
#define LEAF_S2_WRITE        (1ull << 7)
#define LEAF_S2_EXEC_MASK    (3ull << 53)
/*
 * XN[1:0]. 10 forbids execution to all, with FEAT_XNX and without. 11 would do so only without; it
 * means "privileged only" otherwise.
 */
#define LEAF_S2_EXEC_ALL          (0ull << 53)
#define LEAF_S2_EXEC_UNPRIVILEGED (1ull << 53)
#define LEAF_S2_EXEC_NONE         (2ull << 53)
#define LEAF_S2_EXEC_PRIVILEGED   (3ull << 53)

#define S2_DEVICE       0x1ull /* nGnRE, in both encodings */
#define S2_NONCACHEABLE 0x5ull /* in both encodings */
#define S2_CACHEABLE    0xfull
#define S2_FORCED       0x6ull /* with FEAT_S2FWB */

#define SHAREABILITY_NONE  0ull
#define SHAREABILITY_OUTER 2ull
#define SHAREABILITY_INNER 3ull

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

static uint64_t cacheable_memory(const struct piommu_pgtable *table)
{
    if (pgtable_is_stage1(table)) {
        return S1_CACHEABLE << LEAF_S1_MEMORY_SHIFT;
    }
    return ((table->info.flags & PIOMMU_PGTABLE_FORCE_WRITE_BACK) != 0 ? S2_FORCED : S2_CACHEABLE)
           << LEAF_S2_MEMORY_SHIFT;
}

/* With FEAT_LPA2 the whole regime has one shareability, and leaves have address bits there. */
static bool leaves_share_alike(const struct piommu_pgtable *table)
{
    return table->address_fold == LEAF_SHAREABILITY_MASK;
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
        if (stage1) {
            bits |= (device ? S1_DEVICE : S1_NONCACHEABLE) << LEAF_S1_MEMORY_SHIFT;
        } else {
            bits |= (device ? S2_DEVICE : S2_NONCACHEABLE) << LEAF_S2_MEMORY_SHIFT;
        }
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

uint64_t piommu_pgtable_access_mask_(const struct piommu_pgtable *table)
{
    if (pgtable_is_stage1(table)) {
        return LEAF_S1_UNPRIVILEGED | LEAF_S1_READ_ONLY | LEAF_S1_NO_EXEC |
               LEAF_S1_PRIVILEGED_NO_EXEC | LEAF_SOFTWARE_MASK;
    }
    return LEAF_S2_READ | LEAF_S2_WRITE | LEAF_S2_EXEC_MASK | LEAF_SOFTWARE_MASK;
}

/* A leaf that is tracked and clean looks read-only, but is not, if hardware minds the modifier. */
static bool allows_first_write(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return (table->info.flags & PIOMMU_PGTABLE_DIRTY) != 0 &&
           (descriptor & LEAF_DIRTY_MODIFIER) != 0;
}

static piommu_prot stage1_prot(const struct piommu_pgtable *table, uint64_t descriptor)
{
    uint64_t kind = (descriptor & LEAF_S1_MEMORY_MASK) >> LEAF_S1_MEMORY_SHIFT;
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
    if (kind == S1_DEVICE) {
        prot |= PIOMMU_PROT_DEVICE;
    } else if (kind == S1_NONCACHEABLE) {
        prot |= PIOMMU_PROT_NONCACHEABLE;
    }
    if ((descriptor & LEAF_S1_NOT_GLOBAL) == 0) {
        prot |= PIOMMU_PROT_GLOBAL;
    }
    return prot;
}

static piommu_prot stage2_prot(const struct piommu_pgtable *table, uint64_t descriptor)
{
    uint64_t kind = (descriptor & LEAF_S2_MEMORY_MASK) >> LEAF_S2_MEMORY_SHIFT;
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
    if (kind == S2_DEVICE) {
        prot |= PIOMMU_PROT_DEVICE;
    } else if (kind == S2_NONCACHEABLE) {
        prot |= PIOMMU_PROT_NONCACHEABLE;
    }
    return prot;
}

static piommu_prot leaf_prot(const struct piommu_pgtable *table, uint64_t descriptor)
{
    piommu_prot prot =
        pgtable_is_stage1(table) ? stage1_prot(table, descriptor) : stage2_prot(table, descriptor);

    if ((prot & (PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE)) == 0 &&
        !leaves_share_alike(table)) {
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
        }
    }
    for (piommu_prot kind = 0; kind < MEMORY_VALUES; kind++) {
        table->memory_attributes[kind] = memory(table, kind << MEMORY_SHIFT);
    }
    set_decoded(table);
    table->link_attributes = DESCRIPTOR_TABLE;
    if ((table->info.flags & PIOMMU_PGTABLE_NON_SECURE) != 0) {
        table->link_attributes |= LINK_S1_NON_SECURE;
    }
}

/*
 * Dirty state. A leaf with the modifier set allows writing; as long as its permission bit says that
 * it does not, it is clean, and the walker changes that bit at the first write.
 *
 * Source: Arm ARM, "Hardware management of the dirty state".
 */

static uint64_t permission_to_write(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return pgtable_is_stage1(table) ? ~descriptor & LEAF_S1_READ_ONLY : descriptor & LEAF_S2_WRITE;
}

bool piommu_pgtable_allows_write_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return permission_to_write(table, descriptor) != 0;
}

uint64_t piommu_pgtable_tracked_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    if (permission_to_write(table, descriptor) == 0) {
        return descriptor;
    }
    descriptor |= LEAF_DIRTY_MODIFIER;
    return pgtable_is_stage1(table) ? descriptor | LEAF_S1_READ_ONLY : descriptor & ~LEAF_S2_WRITE;
}

uint64_t piommu_pgtable_tracked_dirty_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return permission_to_write(table, descriptor) != 0 ? descriptor | LEAF_DIRTY_MODIFIER
                                                       : descriptor;
}

uint64_t piommu_pgtable_untracked_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    if (!piommu_pgtable_is_tracked_(descriptor)) {
        return descriptor;
    }
    descriptor &= ~LEAF_DIRTY_MODIFIER;
    return pgtable_is_stage1(table) ? descriptor & ~LEAF_S1_READ_ONLY : descriptor | LEAF_S2_WRITE;
}

bool piommu_pgtable_is_tracked_(uint64_t descriptor)
{
    return (descriptor & LEAF_DIRTY_MODIFIER) != 0;
}

bool piommu_pgtable_is_dirty_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return piommu_pgtable_is_tracked_(descriptor) && permission_to_write(table, descriptor) != 0;
}

bool piommu_pgtable_is_accessed_(uint64_t descriptor)
{
    return (descriptor & LEAF_ACCESS_FLAG) != 0;
}

uint64_t piommu_pgtable_noted_bits_(void)
{
    return LEAF_ACCESS_FLAG | LEAF_WRITTEN;
}

/* The check. */

static bool stage2_memory_is_reserved(const struct piommu_pgtable *table, uint64_t kind)
{
    if ((table->info.flags & PIOMMU_PGTABLE_FORCE_WRITE_BACK) != 0) {
        return kind == 4 || kind > 7;
    }
    return kind > 3 && (kind & 3) == 0; /* inner cacheability 00 of normal memory */
}

/* Attribute bits that mean something in leaves of this format. */
static uint64_t known_bits(const struct piommu_pgtable *table)
{
    uint64_t bits = LEAF_SHAREABILITY_MASK | LEAF_ACCESS_FLAG | DESCRIPTOR_CONTIGUOUS |
                    LEAF_SOFTWARE_MASK | LEAF_SOFTWARE_SPARE;

    if (!pgtable_is_32bit(table)) {
        bits |= LEAF_DIRTY_MODIFIER;
    }
    if (pgtable_is_stage1(table)) {
        return bits | LEAF_S1_MEMORY_MASK | LEAF_S1_NON_SECURE | LEAF_S1_UNPRIVILEGED |
               LEAF_S1_READ_ONLY | LEAF_S1_NOT_GLOBAL | LEAF_S1_PRIVILEGED_NO_EXEC |
               LEAF_S1_NO_EXEC;
    }
    return bits | LEAF_S2_MEMORY_MASK | LEAF_S2_READ | LEAF_S2_WRITE | LEAF_S2_EXEC_MASK;
}

void piommu_pgtable_check_leaf_(const struct piommu_pgtable *table, uint64_t descriptor,
                                unsigned int height, struct piommu_leaf_problems *problems)
{
    /* A leaf's address field begins at its size; what lies below, down to the page, is reserved. */
    uint64_t address = table->address_mask & ~(pgtable_span(table, height) - 1);
    uint64_t shareability = (descriptor & LEAF_SHAREABILITY_MASK) >> LEAF_SHAREABILITY_SHIFT;

    problems->reserved_bits = (descriptor & ~(address | table->address_fold | known_bits(table) |
                                              DESCRIPTOR_TYPE_MASK)) != 0;
    problems->access_flag =
        !piommu_pgtable_is_accessed_(descriptor) && (table->info.flags & PIOMMU_PGTABLE_DIRTY) == 0;
    problems->shareability = !leaves_share_alike(table) && shareability == 1;
    problems->dirty_state = piommu_pgtable_is_tracked_(descriptor) && !pgtable_is_32bit(table) &&
                            (table->info.flags & PIOMMU_PGTABLE_DIRTY) == 0;
    if (pgtable_is_stage1(table)) {
        bool non_secure = (descriptor & LEAF_S1_NON_SECURE) != 0;

        problems->memory_type =
            ((descriptor & LEAF_S1_MEMORY_MASK) >> LEAF_S1_MEMORY_SHIFT) > S1_DEVICE;
        problems->execute_never = false;
        problems->non_secure = non_secure != ((table->info.flags & PIOMMU_PGTABLE_NON_SECURE) != 0);
    } else {
        problems->memory_type = stage2_memory_is_reserved(
            table, (descriptor & LEAF_S2_MEMORY_MASK) >> LEAF_S2_MEMORY_SHIFT);
        /* Without FEAT_XNX the lower bit has no meaning, whatever it seems to forbid. */
        problems->execute_never = (descriptor & LEAF_S2_EXEC_UNPRIVILEGED) != 0 &&
                                  (table->info.flags & PIOMMU_PGTABLE_XNX) == 0;
        problems->non_secure = false;
    }
}
