/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Every descriptor of a tree, and what is wrong with it. */

#include "internal.h"

#include <stdlib.h>
#include <string.h>

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

static void report_at(struct check *check, enum piommu_walker_problem_kind kind,
                      const struct spot *spot)
{
    report_problem(check, kind, spot->level, spot->input, spot->location, spot->descriptor);
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
    uint64_t reserved = reserved_low_bits(regime, level_shift(regime, level));

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

    piommu_walker_decode_attributes_(regime, spot->level, spot->descriptor, 0, &attributes);
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
    uint64_t last = entry->address | bits_below(level_shift(check->regime, spot->level));

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
    unsigned int shift = level_shift(regime, level);

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
        entry = piommu_walker_decode_entry_(regime, level, spot.descriptor);
        if (entry.kind != ENTRY_LEAF || !(spot.descriptor & LEAF_CONTIGUOUS)) {
            verdict->is_mixed = true;
            continue;
        }
        verdict->is_marked = true;
        expected = piommu_walker_decode_entry_(regime, level, verdict->leader).address;
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
    struct entry entry = piommu_walker_decode_entry_(check->regime, spot->level, spot->descriptor);
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
    struct entry entry = piommu_walker_decode_entry_(regime, level, descriptor);

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
