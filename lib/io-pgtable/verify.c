/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The structural check of a whole tree.
 *
 * The tree may be any: each table is entered once only, which a list of the tables seen ensures, so
 * loops and shared tables end the descent instead of multiplying it.
 */

#include "pgtable.h"

#include "inspect.h"

/* Attribute bits of a link. Source: Arm ARM, table descriptor formats. */
#define LINK_NON_SECURE     (1ull << 63)
#define LINK_RESTRICTIONS   (0xfull << 59) /* APTable, XNTable, PXNTable */
#define LINK_ATTRIBUTES     (0x1full << 59)
#define LINK_IGNORED_64     ((0xffull << 51) | 0xffcull)
#define LINK_IGNORED_32     ((0x7full << 52) | 0xffcull)
#define LINK_ADDRESS_32_RES (0xffull << 40) /* address bits that a 40-bit format must not have */

#define MIN_SEEN 64u

struct checker {
    const struct piommu_pgtable *table;
    piommu_pgtable_complain complain;
    void *cookie;
    struct piommu_pgtable_report report;
    uint64_t noted; /* tables that are known to be empty, and should be counted as such */

    /* The tables seen: physical addresses with bit 0 set, hashed; 0 where there is none. */
    uint64_t *seen;
    size_t seen_size; /* slots, a power of two */
    size_t seen_count;

    /* The way to the current slot. */
    unsigned int height;
    descriptor_slot *tables[HEIGHTS];
    uint64_t physical[HEIGHTS];
    uint32_t index[HEIGHTS];
    uint32_t used[HEIGHTS];          /* slots of that table in use, up to the current one */
    uint64_t iova[HEIGHTS];          /* first input address of that table */
    uint64_t descriptor;             /* of the current slot */
    struct piommu_pgtable_step step; /* the same, decoded */
};

static void report(struct checker *checker, enum piommu_pgtable_problem_kind kind)
{
    struct piommu_pgtable_problem problem = {.kind = kind, .step = checker->step};

    checker->report.problems++;
    if (checker->complain != NULL) {
        checker->complain(checker->cookie, &problem);
    }
}

/* The place of an address in the list, or the free place where it belongs. */
static uint64_t *find_seen(uint64_t *seen, size_t size, uint64_t key)
{
    /* Multiplication by a large odd number spreads page numbers over the high bits. */
    size_t place = (size_t)((key * 0x9e3779b97f4a7c15ull) >> 32) & (size - 1);

    while (seen[place] != 0 && seen[place] != key) {
        place = (place + 1) & (size - 1);
    }
    return &seen[place];
}

static int grow_seen(struct checker *checker)
{
    struct piommu_host host = checker->table->host;
    size_t size = checker->seen_size != 0 ? checker->seen_size * 2 : MIN_SEEN;
    uint64_t *seen = piommu_host_alloc_(host, size * sizeof(*seen));

    if (seen == NULL) {
        return -PIOMMU_ENOMEM;
    }
    for (size_t i = 0; i < checker->seen_size; i++) {
        if (checker->seen[i] != 0) {
            *find_seen(seen, size, checker->seen[i]) = checker->seen[i];
        }
    }
    piommu_host_free_(host, checker->seen, checker->seen_size * sizeof(*seen));
    checker->seen = seen;
    checker->seen_size = size;
    return 0;
}

/* Notes a table. Returns 1 if it was not seen before, 0 if it was, or an error. */
static int note(struct checker *checker, uint64_t physical)
{
    const struct piommu_pgtable *table = checker->table;
    uint64_t root = table->info.root_physical;
    uint64_t last = physical + (pgtable_slots(table) * sizeof(descriptor_slot) - 1);
    uint64_t *place;

    /* A small root may lie inside of what claims to be a table. */
    if (physical <= root + (table->info.root_size - 1) && root <= last) {
        return 0;
    }
    if (checker->seen_count * 2 >= checker->seen_size) {
        int error = grow_seen(checker);

        if (error != 0) {
            return error;
        }
    }
    place = find_seen(checker->seen, checker->seen_size, physical | 1);
    if (*place != 0) {
        return 0;
    }
    *place = physical | 1;
    checker->seen_count++;
    return 1;
}

static void check_link_attributes(struct checker *checker)
{
    const struct piommu_pgtable *table = checker->table;
    bool narrow = pgtable_is_32bit(table);
    uint64_t ignored = narrow ? LINK_IGNORED_32 : LINK_IGNORED_64;
    uint64_t known = DESCRIPTOR_TYPE_MASK | table->address_mask | table->address_fold | ignored;
    uint64_t descriptor = checker->descriptor;

    if (pgtable_is_stage1(table)) {
        bool non_secure = (descriptor & LINK_NON_SECURE) != 0;

        known |= LINK_ATTRIBUTES;
        if (non_secure != ((table->info.flags & PIOMMU_PGTABLE_NON_SECURE) != 0)) {
            report(checker, PIOMMU_PGTABLE_PROBLEM_NON_SECURE);
        }
        if ((descriptor & LINK_RESTRICTIONS) != 0) {
            report(checker, PIOMMU_PGTABLE_PROBLEM_TABLE_ATTRIBUTES);
        }
    }
    if (narrow) {
        known |= LINK_ADDRESS_32_RES & ((1ull << 48) - 1); /* judged as an address */
    }
    if ((descriptor & ~known) != 0) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS);
    }
}

/* The address in a descriptor, with the bits that the 32-bit formats must not have. */
static uint64_t full_address(const struct piommu_pgtable *table, uint64_t descriptor)
{
    uint64_t address = pgtable_decode(table, descriptor);

    return pgtable_is_32bit(table) ? address | (descriptor & LINK_ADDRESS_32_RES) : address;
}

/* Enters the table that the current slot leads to, if it is sound. Returns 0 or -ENOMEM. */
static int check_link(struct checker *checker)
{
    const struct piommu_pgtable *table = checker->table;
    uint64_t physical = full_address(table, checker->descriptor);
    uint64_t size = (uint64_t)pgtable_slots(table) * sizeof(descriptor_slot);
    unsigned int height = checker->height;
    descriptor_slot *next;
    int fresh;

    check_link_attributes(checker);
    if (physical > table->last_output || table->last_output - physical < size - 1) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_TABLE_ADDRESS);
        return 0;
    }
    fresh = note(checker, physical);
    if (fresh < 0) {
        return fresh;
    }
    if (fresh == 0) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_TABLE_SHARED);
        return 0;
    }
    next = pgtable_next(table, checker->descriptor);
    if (next == NULL) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_TABLE_UNREACHABLE);
        return 0;
    }
    checker->report.tables++;
    checker->iova[height - 1] = checker->step.covers.first;
    checker->height = height - 1;
    checker->tables[height - 1] = next;
    checker->physical[height - 1] = physical;
    checker->index[height - 1] = 0;
    checker->used[height - 1] = 0;
    return 0;
}

/* Bits of a leaf that must be the same in all members of a contiguous group. */
static uint64_t group_bits(const struct piommu_pgtable *table)
{
    uint64_t bits = ~(table->address_mask | table->address_fold);

    /* Hardware notes accesses and writes in any one of them. */
    if ((table->info.flags & PIOMMU_PGTABLE_DIRTY) != 0) {
        bits &= ~piommu_pgtable_noted_bits_();
    }
    return bits;
}

/*
 * Judges a whole group at its first member. Other members only complain if that is none, so that a
 * broken group is reported once, or once for each member whose first one is missing.
 */
static bool group_is_sound(const struct checker *checker)
{
    const struct piommu_pgtable *table = checker->table;
    unsigned int height = checker->height;
    uint64_t members = 1ull << table->group_shift[height];
    uint32_t index = checker->index[height];
    descriptor_slot *group = &checker->tables[height][index & ~(members - 1)];
    uint64_t first = descriptor_read(&group[0]);
    uint64_t span = pgtable_span(table, height);
    uint64_t base = pgtable_decode(table, first) & ~(span - 1);

    if (table->group_shift[height] == 0) {
        return false;
    }
    if ((index & (members - 1)) != 0) {
        return pgtable_is_leaf(table, first, height) && (first & DESCRIPTOR_CONTIGUOUS) != 0;
    }
    if ((base & ((span << table->group_shift[height]) - 1)) != 0) {
        return false;
    }
    for (uint64_t i = 1; i < members; i++) {
        uint64_t member = descriptor_read(&group[i]);

        if (((member ^ first) & group_bits(table)) != 0 ||
            (pgtable_decode(table, member) & ~(span - 1)) != base + i * span) {
            return false;
        }
    }
    return true;
}

static void check_leaf(struct checker *checker)
{
    const struct piommu_pgtable *table = checker->table;
    unsigned int height = checker->height;
    uint64_t span = pgtable_span(table, height);
    uint64_t base = full_address(table, checker->descriptor) & ~(span - 1);
    struct piommu_leaf_problems problems;

    checker->report.leaves++;
    checker->report.mapped += span;
    if (!table->adopted && ((table->leaf_heights >> height) & 1) == 0) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_LEAF_SIZE);
    }
    if (base > table->last_output || table->last_output - base < span - 1) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_OUTPUT);
    }
    piommu_pgtable_check_leaf_(table, checker->descriptor, height, &problems);
    if (problems.reserved_bits) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS);
    }
    if (problems.access_flag) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_ACCESS_FLAG);
    }
    if (problems.shareability) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_SHAREABILITY);
    }
    if (problems.memory_type) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE);
    }
    if (problems.execute_never) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_EXECUTE_NEVER);
    }
    if (problems.dirty_state) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_DIRTY_STATE);
    }
    if (problems.non_secure) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_NON_SECURE);
    }
    if ((checker->descriptor & DESCRIPTOR_CONTIGUOUS) != 0 && !group_is_sound(checker)) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_CONTIGUOUS);
    }
}

/* Reads the slot of the table at `height` on which the check stands. */
static void look(struct checker *checker, unsigned int height)
{
    const struct piommu_pgtable *table = checker->table;
    uint64_t offset = (uint64_t)checker->index[height] << table->shift[height];

    checker->descriptor = descriptor_read(&checker->tables[height][checker->index[height]]);
    piommu_pgtable_decode_step_(table, height, checker->physical[height],
                                checker->iova[height] + offset, checker->descriptor,
                                &checker->step);
}

/* Goes back to the link of a table whose slots were all seen, and compares it with what it says. */
static void leave(struct checker *checker)
{
    const struct piommu_pgtable *table = checker->table;
    unsigned int height = checker->height;
    uint32_t used = checker->used[height];
    uint32_t count;

    checker->height++;
    look(checker, checker->height);
    count = descriptor_count(checker->descriptor);
    checker->report.empty += used == 0;
    checker->noted += pgtable_is_disjoint(table) ? count == LINK_IDLE : used == 0;
    if (pgtable_is_disjoint(table)) {
        if (count > LINK_IN_USE || (count == LINK_IDLE && used != 0)) {
            report(checker, PIOMMU_PGTABLE_PROBLEM_COUNT);
        }
    } else if (!table->adopted && count != used) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_COUNT);
    } else if (!table->adopted && used == 0 &&
               !piommu_empty_is_noted_(table, checker->tables[height], height,
                                       checker->iova[height])) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_EMPTY_LIST);
    }
    checker->index[checker->height]++;
}

/*
 * A slot without a valid descriptor holds nothing else either, but in empty tables, whose words
 * link the list of those.
 */
static void check_hole(struct checker *checker)
{
    const struct piommu_pgtable *table = checker->table;
    unsigned int height = checker->height;
    bool known_empty = false;

    if (table->adopted || checker->descriptor == 0) {
        return;
    }
    if (height < table->root_height && !pgtable_is_disjoint(table)) {
        uint64_t link = descriptor_read(&checker->tables[height + 1][checker->index[height + 1]]);

        known_empty = descriptor_count(link) == 0;
    }
    if (!known_empty) {
        report(checker, PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS);
    }
}

/* Checks the current slot, and goes on to the next one, or down. Returns 0 or -ENOMEM. */
static int check_slot(struct checker *checker)
{
    unsigned int height = checker->height;
    int error = 0;

    look(checker, height);
    switch (checker->step.kind) {
    case PIOMMU_PGTABLE_STEP_INVALID:
        check_hole(checker);
        break;
    case PIOMMU_PGTABLE_STEP_TABLE:
        checker->used[height]++;
        error = check_link(checker);
        break;
    case PIOMMU_PGTABLE_STEP_LEAF:
        checker->used[height]++;
        check_leaf(checker);
        break;
    default:
        checker->used[height]++;
        report(checker,
               height == 0 ? PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE : PIOMMU_PGTABLE_PROBLEM_BLOCK_LEVEL);
        break;
    }
    if (checker->height == height) {
        checker->index[height]++;
    }
    return error;
}

static int check_all(struct checker *checker)
{
    const struct piommu_pgtable *table = checker->table;

    checker->height = table->root_height;
    checker->tables[checker->height] = table->root;
    checker->physical[checker->height] = table->info.root_physical;
    checker->iova[checker->height] = table->aperture.first;
    for (;;) {
        int error;

        if (checker->index[checker->height] <= table->index_mask[checker->height]) {
            error = check_slot(checker);
            if (error != 0) {
                return error;
            }
        } else if (checker->height < table->root_height) {
            leave(checker);
        } else {
            break;
        }
    }
    if (!table->adopted && checker->noted != piommu_empty_count_(table)) {
        memset(&checker->step, 0, sizeof(checker->step));
        report(checker, PIOMMU_PGTABLE_PROBLEM_EMPTY_LIST);
    }
    return 0;
}

int piommu_pgtable_verify(const struct piommu_pgtable *table, piommu_pgtable_complain complain,
                          void *cookie, struct piommu_pgtable_report *result)
{
    struct checker checker = {.table = table, .complain = complain, .cookie = cookie};
    int error = check_all(&checker);

    piommu_host_free_(table->host, checker.seen, checker.seen_size * sizeof(*checker.seen));
    if (result != NULL) {
        *result = checker.report;
    }
    if (error == 0 && checker.report.problems != 0) {
        error = -PIOMMU_EBADMSG;
    }
    return error;
}

const char *piommu_pgtable_problem_name(enum piommu_pgtable_problem_kind kind)
{
    switch (kind) {
    case PIOMMU_PGTABLE_PROBLEM_BLOCK_LEVEL:
        return "a block at a level that has none";
    case PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE:
        return "a block's type at level 3";
    case PIOMMU_PGTABLE_PROBLEM_LEAF_SIZE:
        return "a leaf size that is not in use";
    case PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS:
        return "reserved bits";
    case PIOMMU_PGTABLE_PROBLEM_OUTPUT:
        return "a leaf beyond the output width";
    case PIOMMU_PGTABLE_PROBLEM_TABLE_ADDRESS:
        return "a table beyond the output width";
    case PIOMMU_PGTABLE_PROBLEM_TABLE_SHARED:
        return "a table reached a second time";
    case PIOMMU_PGTABLE_PROBLEM_TABLE_UNREACHABLE:
        return "a table that the host does not know";
    case PIOMMU_PGTABLE_PROBLEM_ACCESS_FLAG:
        return "the access flag is clear";
    case PIOMMU_PGTABLE_PROBLEM_SHAREABILITY:
        return "reserved shareability";
    case PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE:
        return "a memory type that is not in use";
    case PIOMMU_PGTABLE_PROBLEM_EXECUTE_NEVER:
        return "execution is not forbidden to all";
    case PIOMMU_PGTABLE_PROBLEM_DIRTY_STATE:
        return "dirty state without hardware for it";
    case PIOMMU_PGTABLE_PROBLEM_NON_SECURE:
        return "NS or NSTable not as configured";
    case PIOMMU_PGTABLE_PROBLEM_TABLE_ATTRIBUTES:
        return "a table takes rights away";
    case PIOMMU_PGTABLE_PROBLEM_CONTIGUOUS:
        return "a broken contiguous group";
    case PIOMMU_PGTABLE_PROBLEM_COUNT:
        return "a wrong count of used slots";
    case PIOMMU_PGTABLE_PROBLEM_EMPTY_LIST:
        return "the list of empty tables is wrong";
    }
    return "an unknown problem";
}
