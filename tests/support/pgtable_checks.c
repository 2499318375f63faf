/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What must hold of a table: rights, kinds of memory, leaves, counters; and calls with checks. */

#include "pgtable_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What a prot means ---- */

static uint8_t memory_type_of(piommu_prot prot)
{
    if ((prot & PIOMMU_PROT_DEVICE) != 0) {
        return 0x04;
    }
    return (prot & PIOMMU_PROT_NONCACHEABLE) != 0 ? 0x44 : 0xff;
}

/* In the encoding of SH. */
static unsigned int named_shareability(piommu_prot prot)
{
    switch (prot & PIOMMU_PROT_SHARE_MASK) {
    case PIOMMU_PROT_SHARE_NONE:
        return 0;
    case PIOMMU_PROT_SHARE_OUTER:
        return 2;
    default:
        return 3;
    }
}

static unsigned int regime_shareability(const struct piommu_pgtable_info *info)
{
    return is_stage1(info) ? info->registers.stage1.sh : info->registers.stage2.sh;
}

/* What a flag that names no shareability stands for. */
static unsigned int default_shareability(const struct piommu_pgtable_info *info, piommu_prot prot)
{
    if (memory_type_of(prot) != 0xff) {
        return 2;
    }
    return has_ds(info) ? regime_shareability(info) : 3;
}

static bool names_shareability(piommu_prot prot)
{
    return (prot & PIOMMU_PROT_SHARE_MASK) != 0;
}

piommu_prot prot_without_defaults(const struct piommu_pgtable_info *info, piommu_prot prot)
{
    if (names_shareability(prot) && named_shareability(prot) == default_shareability(info, prot)) {
        prot &= ~PIOMMU_PROT_SHARE_MASK;
    }
    return prot;
}

static bool rights_are_expressible(const struct piommu_pgtable_info *info, piommu_prot prot)
{
    bool read = (prot & READ) != 0;
    bool write = (prot & WRITE) != 0;
    bool execute = (prot & PIOMMU_PROT_EXECUTE) != 0;
    bool execute_privileged = (prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0;
    bool privileged = (prot & PIOMMU_PROT_PRIVILEGED) != 0;

    if (is_stage1(info)) {
        if (!read || (privileged && execute)) {
            return false;
        }
        if (execute_privileged && write && !privileged) {
            return false;
        }
        return !is_32_bit(info) || !execute_privileged || privileged || execute;
    }
    if (privileged || (prot & PIOMMU_PROT_GLOBAL) != 0) {
        return false;
    }
    if (execute != execute_privileged && (info->flags & PIOMMU_PGTABLE_XNX) == 0) {
        return false;
    }
    return !is_32_bit(info) || !execute || read;
}

bool prot_is_expressible(const struct piommu_pgtable_info *info, piommu_prot prot)
{
    bool is_cacheable = memory_type_of(prot) == 0xff;

    if ((prot & PIOMMU_PROT_DEVICE) != 0 && (prot & PIOMMU_PROT_NONCACHEABLE) != 0) {
        return false;
    }
    if (names_shareability(prot) && (!is_cacheable || has_ds(info)) &&
        named_shareability(prot) != default_shareability(info, prot)) {
        return false;
    }
    return rights_are_expressible(info, prot);
}

/* What lookup has to say, once for what the privileged may do and once for the others. */
static bool rights_mean(const struct pgt *p, const struct piommu_walker_attributes *attributes,
                        piommu_prot prot)
{
    const struct piommu_walker_rights *high = &attributes->privileged;
    const struct piommu_walker_rights *low = &attributes->unprivileged;
    bool read = (prot & READ) != 0;
    bool write = (prot & WRITE) != 0;
    bool for_all = (prot & PIOMMU_PROT_PRIVILEGED) == 0;

    return high->read == read && high->write == write && low->read == (read && for_all) &&
           low->write == (write && for_all) &&
           high->execute == ((prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0) &&
           low->execute == ((prot & PIOMMU_PROT_EXECUTE) != 0) &&
           (!is_stage1(&p->info) || attributes->not_global == ((prot & PIOMMU_PROT_GLOBAL) == 0));
}

bool attributes_mean(const struct pgt *p, const struct piommu_walker_attributes *attributes,
                     piommu_prot prot)
{
    unsigned int shareability =
        names_shareability(prot) ? named_shareability(prot) : default_shareability(&p->info, prot);
    unsigned int software = (prot & PIOMMU_PROT_SOFTWARE_MASK) >> 10;

    if (attributes->memory_type_is_reserved || attributes->memory_type_is_inherited ||
        attributes->memory_type != memory_type_of(prot) || !attributes->access_flag ||
        (attributes->dirty_bit_modifier && !p->may_track)) {
        return false;
    }
    /* With the descriptors of FEAT_LPA2 there is no such field in the leaf. */
    if (!has_ds(&p->info) && attributes->shareability != shareability) {
        return false;
    }
    /* Bit 55 is no software bit in all regimes of stage 2. */
    if (attributes->software_bits != software << 1) {
        return false;
    }
    if (is_stage1(&p->info) &&
        attributes->non_secure != ((p->info.flags & PIOMMU_PGTABLE_NON_SECURE) != 0)) {
        return false;
    }
    return rights_mean(p, attributes, prot);
}

/* ---- Checks of the whole table ---- */

void fill_tlb(struct pgt *p)
{
    static const struct piommu_walker_access nothing = {.privileged = true};
    struct piommu_walker_memory quiet = p->memory;
    struct piommu_walker_result ignored;

    observe_tree(p);
    if (!p->has_tlb) {
        return;
    }
    quiet.compare_exchange64 = NULL;
    stale_tlb_fill(p->tlb, &p->regime, &quiet);
    for (struct observed_piece *piece = p->pieces; piece != NULL; piece = piece->next) {
        if (piece->linked && piece->empty) {
            stale_tlb_translate(p->tlb, &p->regime, &quiet, piece->input, &nothing, &ignored);
        }
    }
}

/* Bytes of the leaf, or of the group that it is a member of. */
static uint64_t whole_size(const struct pgt *p, const struct piommu_walker_leaf *leaf)
{
    uint64_t size = 1ull << leaf->shift;

    return leaf->attributes.contiguous
               ? size * piommu_walker_contiguous_entries(&p->regime, leaf->level)
               : size;
}

struct sweep {
    struct pgt *p;
    uint64_t cursor;
    bool at_top; /* the cursor has passed the highest address of all */
    size_t descriptors;
    size_t leaves;
    uint64_t bytes;
};

static bool sweep_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct sweep *sweep = ctx;
    struct pgt *p = sweep->p;
    uint64_t size = 1ull << leaf->shift;
    uint64_t whole = whole_size(p, leaf);
    uint64_t found = 1;
    struct piommu_translation translation;

    if ((leaf->input & (whole - 1)) == 0) {
        sweep->leaves++;
        assert_int_equal(
            piommu_pgtable_next_leaf(p->table, sweep->cursor, UINT64_MAX, &found, &translation), 0);
        assert_int_equal(found, leaf->input);
        assert_int_equal(translation.physical, leaf->output);
        assert_int_equal(translation.leaf_size, whole);
        assert_true(attributes_mean(p, &leaf->attributes, translation.prot));
    }
    for (unsigned int i = 0; i < 3; i++) {
        uint64_t offset = i == 0 ? 0 : i == 1 ? size / 2 + 5 : size - 1;
        struct piommu_translation looked_up;

        assert_int_equal(piommu_pgtable_lookup(p->table, leaf->input + offset, &looked_up), 0);
        assert_int_equal(looked_up.physical, leaf->output + offset);
        assert_int_equal(looked_up.leaf_size, whole);
        assert_true(attributes_mean(p, &leaf->attributes, looked_up.prot));
        assert_int_equal(piommu_pgtable_translate(p->table, leaf->input + offset),
                         leaf->output + offset);
    }
    sweep->cursor = leaf->input + size;
    sweep->at_top = sweep->cursor == 0;
    sweep->descriptors++;
    sweep->bytes += size;
    return true;
}

static void complain(void *ctx, const struct piommu_pgtable_problem *problem)
{
    (void)ctx;
    fprintf(stderr, "the library says: %s at level %d, input 0x%llx: 0x%llx\n",
            piommu_pgtable_problem_name(problem->kind), problem->step.level,
            (unsigned long long)problem->step.covers.first,
            (unsigned long long)problem->step.descriptor);
}

/* The library's own check finds nothing, and counts the same as the walker. */
static void compare_report(struct pgt *p, const struct sweep *sweep)
{
    struct piommu_pgtable_report report;

    memset(&report, 0x5a, sizeof(report));
    p->is_verifying = true;
    assert_int_equal(piommu_pgtable_verify(p->table, complain, NULL, &report), 0);
    p->is_verifying = false;
    assert_int_equal(report.problems, 0);
    assert_int_equal(report.tables, p->linked_count);
    assert_int_equal(report.empty, p->empty_count);
    assert_int_equal(report.leaves, sweep->descriptors);
    assert_int_equal(report.mapped, sweep->bytes);
}

void verify(struct pgt *p)
{
    struct sweep sweep = {.p = p, .cursor = 0};
    struct piommu_pgtable_statistics statistics;
    struct piommu_translation translation;
    uint64_t found;

    check_walker_view(p);
    observe_barrier(p);
    assert_true(piommu_walker_for_each_leaf(&p->regime, &p->memory, sweep_leaf, &sweep));
    if (!sweep.at_top) {
        assert_int_equal(
            piommu_pgtable_next_leaf(p->table, sweep.cursor, UINT64_MAX, &found, &translation),
            -PIOMMU_ENOENT);
    }
    compare_report(p, &sweep);

    piommu_pgtable_get_statistics(p->table, &statistics);
    assert_int_equal(statistics.tables_allocated - statistics.tables_freed, p->piece_count - 1);
    if (is_disjoint(&p->info)) {
        assert_true(statistics.tables_empty <= p->empty_count);
        assert_true(statistics.tables_empty <= p->config.empty_tables_kept);
    } else {
        assert_int_equal(statistics.tables_empty, p->empty_count);
    }

    /*
     * The TLB caches all there is; with nothing to forget it must hold just that. A link above a
     * leaf that is cached may be missing.
     */
    fill_tlb(p);
    if (p->has_tlb && !p->unsynced) {
        assert_int_equal(stale_tlb_leaf_count(p->tlb), sweep.leaves);
        assert_true(stale_tlb_table_count(p->tlb) <= p->linked_count);
    }
    assert_int_equal(stale_tlb_conflicts(p->tlb), 0);
}

struct expectation {
    const struct pgt *p;
    const struct expected_leaf *leaves;
    size_t count;
    size_t seen;
};

static bool compare_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct expectation *expectation = ctx;
    const struct expected_leaf *expected = &expectation->leaves[expectation->seen];
    uint64_t whole = whole_size(expectation->p, leaf);

    if ((leaf->input & (whole - 1)) != 0) {
        return true;
    }
    assert_true(expectation->seen < expectation->count);
    assert_int_equal(leaf->input, expected->input);
    assert_int_equal(leaf->output, expected->output);
    assert_int_equal(whole, expected->size);
    expectation->seen++;
    return true;
}

void expect_leaves(struct pgt *p, const struct expected_leaf *leaves, size_t count)
{
    struct expectation expectation = {.p = p, .leaves = leaves, .count = count};

    verify(p);
    assert_true(piommu_walker_for_each_leaf(&p->regime, &p->memory, compare_leaf, &expectation));
    assert_int_equal(expectation.seen, count);
}

void expect_empty(struct pgt *p)
{
    struct expected_leaf none = {0};

    expect_leaves(p, &none, 0);
}

struct leaf_counts {
    const struct pgt *p;
    size_t by_shift[64];
    size_t whole;
};

static bool count_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct leaf_counts *counts = ctx;

    counts->by_shift[leaf->shift]++;
    counts->whole += (leaf->input & (whole_size(counts->p, leaf) - 1)) == 0 ? 1u : 0u;
    return true;
}

void expect_counts(struct pgt *p, size_t pages, size_t middle, size_t large)
{
    struct leaf_counts counts = {.p = p};

    verify(p);
    assert_true(piommu_walker_for_each_leaf(&p->regime, &p->memory, count_leaf, &counts));
    assert_int_equal(counts.by_shift[12], pages);
    assert_int_equal(counts.by_shift[21], middle);
    assert_int_equal(counts.by_shift[30], large);
}

size_t count_leaves(struct pgt *p)
{
    struct leaf_counts counts = {.p = p};

    assert_true(piommu_walker_for_each_leaf(&p->regime, &p->memory, count_leaf, &counts));
    return counts.whole;
}

/* Goes through the pieces in step with the walker. */
struct greed {
    struct pgt *p;
    const struct greedy_piece *pieces;
    size_t count;
    size_t piece;
    uint64_t done; /* in the piece */
};

/* The largest leaf or group for the next bytes of the piece. */
static uint64_t largest_fit(const struct greed *greed)
{
    const struct greedy_piece *piece = &greed->pieces[greed->piece];
    uint64_t sizes = greed->p->info.leaf_sizes | greed->p->info.contiguous_sizes;
    uint64_t odd = (piece->iova + greed->done) | (piece->physical + greed->done);

    for (unsigned int bit = 63;; bit--) {
        uint64_t size = 1ull << bit;

        if ((sizes & size) != 0 && (odd & (size - 1)) == 0 && piece->size - greed->done >= size) {
            return size;
        }
        assert_true(bit > 12);
    }
}

static bool compare_greedy(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct greed *greed = ctx;
    uint64_t whole = whole_size(greed->p, leaf);
    const struct greedy_piece *piece;

    if ((leaf->input & (whole - 1)) != 0) {
        return true;
    }
    assert_true(greed->piece < greed->count);
    piece = &greed->pieces[greed->piece];
    assert_int_equal(leaf->input, piece->iova + greed->done);
    assert_int_equal(leaf->output, piece->physical + greed->done);
    assert_int_equal(whole, largest_fit(greed));
    greed->done += whole;
    if (greed->done == piece->size) {
        greed->piece++;
        greed->done = 0;
    }
    return true;
}

void expect_greedy(struct pgt *p, const struct greedy_piece *pieces, size_t count)
{
    struct greed greed = {.p = p, .pieces = pieces, .count = count};

    assert_true(piommu_walker_for_each_leaf(&p->regime, &p->memory, compare_greedy, &greed));
    assert_int_equal(greed.piece, count);
}

struct piommu_pgtable_statistics statistics_of(const struct pgt *p)
{
    struct piommu_pgtable_statistics statistics;

    piommu_pgtable_get_statistics(p->table, &statistics);
    return statistics;
}

/* ---- Calls ---- */

int call_map(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size, piommu_prot prot,
             uint64_t *mapped)
{
    int result;

    *mapped = 0x5a5a5a5a5a5a5a5aull;
    fake_os_forbid(p->os, FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_map(p->table, iova, physical, size, prot, mapped);
    fake_os_forbid(p->os, 0);
    return result;
}

void map_quickly(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size, piommu_prot prot)
{
    uint64_t mapped;

    assert_int_equal(call_map(p, iova, physical, size, prot, &mapped), 0);
    assert_int_equal(mapped, size);
}

void map(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size, piommu_prot prot)
{
    map_quickly(p, iova, physical, size, prot);
    verify(p);
}

void let_lines_arrive(struct pgt *p)
{
    p->below.barrier(p->os, PIOMMU_BARRIER_WRITE);
}

void map_fails(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size, piommu_prot prot,
               int error)
{
    uint64_t mapped;
    uint64_t bytes = fake_os_bytes_outstanding(p->os);

    assert_int_equal(call_map(p, iova, physical, size, prot, &mapped), error);
    assert_int_equal(mapped, 0);
    assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
    verify(p);
}

int call_unmap(struct pgt *p, uint64_t iova, uint64_t size, struct piommu_gather *gather,
               uint64_t *unmapped)
{
    int result;

    *unmapped = 0x5a5a5a5a5a5a5a5aull;
    fill_tlb(p);
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_unmap(p->table, iova, size, gather, unmapped);
    fake_os_forbid(p->os, 0);
    if (result == 0) {
        p->unsynced = true;
    }
    return result;
}

void unmap(struct pgt *p, uint64_t iova, uint64_t size, struct piommu_gather *gather,
           uint64_t expected)
{
    uint64_t unmapped;

    assert_int_equal(call_unmap(p, iova, size, gather, &unmapped), 0);
    assert_int_equal(unmapped, expected);
    assert_true(gather->pending);
    let_lines_arrive(p);
    verify(p);
}

void unmap_fails(struct pgt *p, uint64_t iova, uint64_t size, int error)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    assert_int_equal(call_unmap(p, iova, size, &gather, &unmapped), error);
    assert_int_equal(unmapped, 0);
    assert_false(gather.pending);
    verify(p);
}

void detach_empty_quietly(struct pgt *p, struct piommu_gather *gather)
{
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    piommu_pgtable_detach_empty(p->table, gather);
    fake_os_forbid(p->os, 0);
    p->unsynced = true;
}

void detach_empty(struct pgt *p, struct piommu_gather *gather)
{
    detach_empty_quietly(p, gather);
    /* The TLB may still be in the middle of a walk through what was detached. */
    verify(p);
}

void invalidate(struct pgt *p, const struct piommu_gather *gather)
{
    if (gather->pending) {
        stale_tlb_invalidate(p->tlb, gather->range.first, gather->range.last, false);
    }
    fill_tlb(p);
}

void release(struct pgt *p, struct piommu_gather *gather)
{
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
    piommu_pgtable_release(p->table, gather);
    fake_os_forbid(p->os, 0);
    assert_false(gather->pending);
}

void sync_gather(struct pgt *p, struct piommu_gather *gather)
{
    detach_empty(p, gather);
    invalidate(p, gather);
    release(p, gather);
    p->unsynced = false;
    verify(p);
}

void unmap_and_sync(struct pgt *p, uint64_t iova, uint64_t size, uint64_t expected)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    unmap(p, iova, size, &gather, expected);
    sync_gather(p, &gather);
}

void unmap_all(struct pgt *p)
{
    struct piommu_gather gather;
    struct piommu_range removed;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    fill_tlb(p);
    piommu_pgtable_unmap_leaves(p->table, p->info.aperture.first, p->info.aperture.last, &gather,
                                &removed, &unmapped);
    p->unsynced = true;
    sync_gather(p, &gather);
    expect_empty(p);
}
