/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random programs of calls of io-pgtable.h, against a plain list of what should be mapped, the
 * independent walker and a TLB that forgets nothing by itself.
 *
 * Each program runs in a process of its own, so that a crash or an endless loop is a failure like
 * any other. A program that fails is shortened while it still fails, and printed as calls.
 *
 * Environment: PIOMMU_RANDOM_STEPS, the number of operations in all; PIOMMU_RANDOM_SEED.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "../unit/test_io_pgtable_fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_STEPS    100000u
#define PROGRAM_LENGTH   400u
#define MAXIMUM_LEAVES   6000u /* in the model, before large maps are skipped */
#define MAXIMUM_SEGMENTS 6u
#define MAXIMUM_PENDING  64u
#define TLB_ROOM         256u
#define WINDOW_SIZE      (16 * MIB)
#define PROGRAM_SECONDS  300u
#define SHRINK_ATTEMPTS  1500u

enum operation_kind {
    OPERATION_MAP,
    OPERATION_MAP_LIST,
    OPERATION_MAP_WITHOUT_MEMORY,
    OPERATION_UNMAP,
    OPERATION_UNMAP_LEAVES,
    OPERATION_SYNC,
    OPERATION_LOOKUP,
    OPERATION_NEXT_LEAF,
    OPERATION_CHECK,
};

/* Raw numbers, so that an operation means something whatever precedes it. */
struct operation {
    enum operation_kind kind;
    uint32_t raw[6];
};

struct program {
    uint32_t variant;
    size_t length;
    struct operation operations[PROGRAM_LENGTH];
};

/* What should be mapped. How a call divides its range into leaves is learned from the walker. */
struct leaf {
    uint64_t first;
    uint64_t last;
    uint64_t physical;
    piommu_prot prot;
};

struct model {
    struct pgt *p;
    bool verbose;
    struct leaf *leaves; /* ascending */
    size_t count;
    size_t room;
    struct piommu_gather gather;
    struct piommu_range pending[MAXIMUM_PENDING]; /* unmapped and not synced */
    size_t pending_count;
    uint64_t end;
    uint64_t output_end;
    uint64_t windows[8];
    size_t window_count;
    uint64_t random; /* for probes: not a part of the program's meaning */
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t value;

    *state += 0x9e3779b97f4a7c15ull;
    value = *state;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

static void say(const struct model *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const struct model *m, const char *format, ...)
{
    va_list arguments;

    if (!m->verbose) {
        return;
    }
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* ---- The model ---- */

/* The index of the first leaf that ends at or behind an address. */
static size_t leaf_index(const struct model *m, uint64_t address)
{
    size_t low = 0;
    size_t high = m->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (m->leaves[middle].last < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const struct leaf *leaf_at(const struct model *m, uint64_t address)
{
    size_t index = leaf_index(m, address);

    return index < m->count && m->leaves[index].first <= address ? &m->leaves[index] : NULL;
}

/* Makes room for leaves that come one after the other. */
static struct leaf *insert_leaves(struct model *m, uint64_t first, size_t count)
{
    size_t index = leaf_index(m, first);

    if (m->count + count > m->room) {
        m->room = 2 * (m->count + count) + 256;
        m->leaves = realloc(m->leaves, m->room * sizeof(*m->leaves));
    }
    memmove(&m->leaves[index + count], &m->leaves[index], (m->count - index) * sizeof(*m->leaves));
    m->count += count;
    return &m->leaves[index];
}

static bool overlaps_pending(const struct model *m, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < m->pending_count; i++) {
        if (m->pending[i].first <= last && m->pending[i].last >= first) {
            return true;
        }
    }
    return false;
}

/* ---- Comparisons ---- */

static void translate(struct model *m, uint64_t address, struct walker_result *result)
{
    static const struct walker_access nothing = {.privileged = true};

    walker_translate(&m->p->regime, &m->p->memory, address, &nothing, result);
}

static void check_translation(struct model *m, const struct leaf *leaf, uint64_t address,
                              const struct walker_result *result)
{
    CHECK(result->fault == WALKER_FAULT_NONE);
    CHECK(result->output == leaf->physical + (address - leaf->first));
    CHECK((1ull << result->leaf_shift) - 1 == leaf->last - leaf->first);
    CHECK(attributes_mean(m->p, &result->attributes, leaf->prot));
}

/* Model, lookup, walker and TLB agree about an address. */
static void probe(struct model *m, uint64_t address)
{
    static const struct walker_access nothing = {.privileged = true};
    const struct leaf *leaf = leaf_at(m, address);
    bool is_pending = overlaps_pending(m, address, address);
    struct piommu_translation translation;
    struct walker_result result;
    int error = piommu_pgtable_lookup(m->p->table, address, &translation);

    if (leaf == NULL) {
        CHECK(error == (address < m->end ? -PIOMMU_ENOENT : -PIOMMU_ERANGE));
        if (is_pending) {
            return; /* hardware may see either */
        }
        translate(m, address, &result);
        CHECK(result.fault == WALKER_FAULT_TRANSLATION);
    } else {
        CHECK(error == 0);
        CHECK(translation.physical == leaf->physical + (address - leaf->first));
        CHECK(translation.leaf_size - 1 == leaf->last - leaf->first);
        CHECK(translation.prot == leaf->prot);
        translate(m, address, &result);
        check_translation(m, leaf, address, &result);
    }
    if (stale_tlb_leaf_count(m->p->tlb) > TLB_ROOM || stale_tlb_table_count(m->p->tlb) > TLB_ROOM) {
        stale_tlb_invalidate_all(m->p->tlb);
    }
    stale_tlb_translate(m->p->tlb, &m->p->regime, &m->p->memory, address, &nothing, &result);
    if (leaf == NULL) {
        CHECK(result.fault == WALKER_FAULT_TRANSLATION);
    } else {
        check_translation(m, leaf, address, &result);
    }
    CHECK(stale_tlb_conflicts(m->p->tlb) == 0);
}

/* The ends, what lies outside them, and something within. */
static void probe_range(struct model *m, uint64_t first, uint64_t last)
{
    probe(m, first);
    probe(m, last);
    probe(m, first + next_random(&m->random) % (last - first + 1));
    if (first != 0) {
        probe(m, first - 1);
    }
    if (last != UINT64_MAX) {
        probe(m, last + 1);
    }
}

struct comparison {
    struct model *m;
    size_t seen;
};

static bool compare_with_model(void *ctx, const struct walker_leaf *leaf)
{
    struct comparison *comparison = ctx;
    struct model *m = comparison->m;
    const struct leaf *expected = &m->leaves[comparison->seen];

    CHECK(comparison->seen < m->count);
    CHECK(leaf->input == expected->first);
    CHECK(leaf->output == expected->physical);
    CHECK(leaf->input + ((1ull << leaf->shift) - 1) == expected->last);
    CHECK(attributes_mean(m->p, &leaf->attributes, expected->prot));
    comparison->seen++;
    return true;
}

static void check_all(struct model *m)
{
    struct comparison comparison = {.m = m};
    struct piommu_pgtable_statistics statistics;

    let_lines_arrive(m->p);
    CHECK(walker_check(&m->p->regime, &m->p->memory, fixture_is_table, fixture_report, m->p) == 0);
    CHECK(walker_for_each_leaf(&m->p->regime, &m->p->memory, compare_with_model, &comparison));
    CHECK(comparison.seen == m->count);
    observe_tree(m->p);
    piommu_pgtable_get_statistics(m->p->table, &statistics);
    CHECK(statistics.tables_empty == m->p->empty_count);
    /* Nothing is detached between two operations. */
    CHECK(m->p->piece_count - 1 == m->p->linked_count);
}

/* What holds after every call. */
static void check_counts(struct model *m)
{
    struct piommu_pgtable_statistics statistics;

    piommu_pgtable_get_statistics(m->p->table, &statistics);
    CHECK(statistics.tables_allocated - statistics.tables_freed == m->p->piece_count - 1);
    CHECK(statistics.tables_empty <= m->p->piece_count - 1);
}

/* ---- Operations ---- */

static void run_sync(struct model *m)
{
    struct piommu_pgtable_statistics statistics;
    struct pgt *p = m->p;

    say(m, "    sync\n");
    detach_empty_quietly(p, &m->gather);
    CHECK(m->gather.pending == (m->pending_count != 0) || m->gather.pending);
    /* Walk caches are still in use, whatever they lead to. */
    for (size_t i = 0; i < m->pending_count; i++) {
        static const struct walker_access nothing = {.privileged = true};
        struct walker_result result;

        CHECK(m->gather.range.first <= m->pending[i].first);
        CHECK(m->gather.range.last >= m->pending[i].last);
        translate(m, m->pending[i].first, &result);
        CHECK(result.fault == WALKER_FAULT_TRANSLATION);
        stale_tlb_translate(p->tlb, &p->regime, &p->memory, m->pending[i].last, &nothing, &result);
    }
    if (m->gather.pending) {
        stale_tlb_invalidate(p->tlb, m->gather.range.first, m->gather.range.last, false);
    }
    for (size_t i = 0; i < m->pending_count; i++) {
        CHECK(!stale_tlb_holds_input(p->tlb, m->pending[i].first, m->pending[i].last));
    }
    release(p, &m->gather);
    piommu_pgtable_get_statistics(p->table, &statistics);
    CHECK(statistics.tables_empty <= p->config.empty_tables_kept);
    while (m->pending_count != 0) {
        m->pending_count--;
        probe_range(m, m->pending[m->pending_count].first, m->pending[m->pending_count].last);
    }
}

/* A range, from three raw numbers, and an alignment at which input and output should agree. */
static void choose_range(const struct model *m, const uint32_t *raw, uint64_t *iova, uint64_t *size,
                         uint64_t *agreement)
{
    uint64_t window = m->windows[raw[1] % m->window_count];
    uint64_t page = raw[2] % (WINDOW_SIZE / 4096);
    uint64_t few = raw[2] >> 16;

    *agreement = 4096;
    *iova = window + page * 4096;
    switch (raw[0] % 16) {
    case 7:
    case 8:
        *size = (few % 64 + 1) * 4096;
        break;
    case 9:
        *size = (few % 1200 + 1) * 4096;
        break;
    case 10:
    case 11:
        *iova = window + page * 4096 / (2 * MIB) * (2 * MIB);
        *size = (few % 3 + 1) * 2 * MIB;
        *agreement = 2 * MIB;
        break;
    case 12:
        *iova = window + page * 4096 / (2 * MIB) * (2 * MIB) + (512 - few % 4) * 4096;
        *size = (few % 2 + 1) * 2 * MIB + few % 8 * 4096;
        *agreement = 2 * MIB;
        break;
    case 13:
        *iova = m->end > 8 * GIB ? page % 8 * GIB : 0;
        *size = few % 4 == 0 ? GIB + 4096 * (few % 3) : few % 2 == 0 ? 2 * GIB : GIB - 2 * MIB;
        *agreement = GIB;
        break;
    case 14:
        *iova = window + page * 4096 / MIB * MIB;
        *size = (few % 5 + 1) * MIB;
        break;
    case 15: /* mostly beyond something */
        *iova =
            few % 2 == 0 ? m->end - page * 4096 : ((uint64_t)raw[2] << (raw[1] % 33)) & ~0xfffull;
        *size = few % 3 == 0 ? UINT64_MAX - 4095 : ((uint64_t)few << (raw[1] % 49)) & ~0xfffull;
        break;
    default:
        *size = (few % 8 + 1) * 4096;
        break;
    }
}

static uint64_t choose_output(const struct model *m, uint32_t raw, uint64_t iova,
                              uint64_t agreement)
{
    uint64_t physical = ((uint64_t)raw * 0x9e3779b97f4aull) % m->output_end;

    if (raw % 64 == 63) {
        return m->output_end - 4096 * (raw / 64 % 16);
    }
    if (raw % 8 == 7) {
        agreement = 4096;
    }
    return (physical & ~(agreement - 1)) | (iova & (agreement - 1) & ~0xfffull);
}

static piommu_prot choose_prot(const struct model *m, uint32_t raw)
{
    static const piommu_prot stage1[] = {READ,
                                         READ_WRITE,
                                         READ_WRITE,
                                         READ | PIOMMU_PROT_EXECUTE,
                                         READ | PIOMMU_PROT_PRIVILEGED,
                                         READ_WRITE | PIOMMU_PROT_NONCACHEABLE,
                                         READ_WRITE | PIOMMU_PROT_DEVICE,
                                         READ};
    static const piommu_prot stage2[] = {READ,
                                         READ_WRITE,
                                         WRITE,
                                         READ_WRITE | PIOMMU_PROT_EXECUTE_ALL,
                                         READ | PIOMMU_PROT_EXECUTE_ALL,
                                         WRITE | PIOMMU_PROT_NONCACHEABLE,
                                         READ_WRITE | PIOMMU_PROT_DEVICE,
                                         READ_WRITE};

    return m->p->config.format == PIOMMU_ARM_64_LPAE_S1 ? stage1[raw % 8] : stage2[raw % 8];
}

/* Is there a range [start, start + size) in [0, end)? */
static bool fits(uint64_t start, uint64_t size, uint64_t end)
{
    return start < end && size <= end - start;
}

/* Which of two errors is reported is open if both apply. */
static int expected_map_error(const struct model *m, uint64_t iova,
                              const struct piommu_segment *segments, size_t count, bool *either)
{
    uint64_t next = iova;
    bool is_empty = false;
    bool is_outside = false;

    for (size_t i = 0; i < count; i++) {
        is_empty = is_empty || segments[i].size == 0;
        is_outside = is_outside || !fits(next, segments[i].size, m->end) ||
                     !fits(segments[i].physical, segments[i].size, m->output_end);
        next = segments[i].size <= UINT64_MAX - next ? next + segments[i].size : UINT64_MAX;
    }
    *either = is_empty && is_outside;
    return is_empty ? -PIOMMU_EINVAL : is_outside ? -PIOMMU_ERANGE : 0;
}

/* Would the call make more leaves than the model, or the simulated memory, is good for? */
static bool is_too_large(const struct model *m, uint64_t iova,
                         const struct piommu_segment *segments, size_t count)
{
    static const uint64_t leaf_sizes[] = {GIB, 2 * MIB, 4 * KIB};
    uint64_t wanted = m->p->config.leaf_sizes;
    uint64_t leaves = 0;

    for (size_t i = 0; i < count; i++) {
        size_t size = 0;

        /* The largest leaf that the alignment of input and output to each other allows. */
        while (leaf_sizes[size] != 4 * KIB &&
               (((iova ^ segments[i].physical) & (leaf_sizes[size] - 1)) != 0 ||
                (wanted != 0 && (wanted & leaf_sizes[size]) == 0))) {
            size++;
        }
        leaves += segments[i].size / leaf_sizes[size];
        iova += segments[i].size;
    }
    return leaves > MAXIMUM_LEAVES;
}

/* The segment that byte `offset` of the list lies in, and where in it. */
static const struct piommu_segment *segment_at(const struct piommu_segment *segments,
                                               uint64_t *offset)
{
    while (*offset >= segments->size) {
        *offset -= segments->size;
        segments++;
    }
    return segments;
}

/* Could a larger leaf have taken the place? `hole` is the level of the fault before the call. */
static void check_largest(const struct model *m, uint64_t iova,
                          const struct piommu_segment *segments, uint64_t mapped, uint64_t address,
                          int hole)
{
    const struct leaf *leaf = leaf_at(m, address);

    for (unsigned int shift = 21; shift <= 30; shift += 9) {
        uint64_t size = 1ull << shift;
        uint64_t first = address & ~(size - 1);
        uint64_t offset = first - iova;
        const struct piommu_segment *segment;
        int level = 3 - (int)(shift - 12) / 9;

        if ((m->p->info.leaf_sizes & size) == 0 || leaf->last - leaf->first + 1 >= size ||
            first < iova || offset + size > mapped || hole > level) {
            continue;
        }
        segment = segment_at(segments, &offset);
        CHECK(segment->size - offset < size || ((segment->physical + offset) & (size - 1)) != 0);
    }
}

/* The leaf that begins at a distance from the start of a mapped range, as the walker sees it. */
static struct leaf learn_leaf(struct model *m, uint64_t iova, const struct piommu_segment *segments,
                              uint64_t mapped, uint64_t done, piommu_prot prot)
{
    uint64_t offset = done;
    const struct piommu_segment *segment = segment_at(segments, &offset);
    struct walker_result result;
    uint64_t size;
    struct leaf leaf;

    translate(m, iova + done, &result);
    CHECK(result.fault == WALKER_FAULT_NONE);
    size = 1ull << result.leaf_shift;
    CHECK((m->p->info.leaf_sizes & size) != 0);
    CHECK(((iova + done) & (size - 1)) == 0 && size <= mapped - done);
    leaf = (struct leaf){.first = iova + done,
                         .last = iova + done + (size - 1),
                         .physical = segment->physical + offset,
                         .prot = prot};
    check_translation(m, &leaf, leaf.first, &result);
    return leaf;
}

/* Learns the leaves of a range that was mapped, and compares all that is not left open. */
static void learn_leaves(struct model *m, uint64_t iova, const struct piommu_segment *segments,
                         uint64_t mapped, piommu_prot prot)
{
    struct leaf *found = NULL;
    size_t count = 0;
    size_t room = 0;
    uint64_t done = 0;

    while (done < mapped) {
        if (count == room) {
            room = 2 * room + 16;
            found = realloc(found, room * sizeof(*found));
        }
        found[count] = learn_leaf(m, iova, segments, mapped, done, prot);
        done += found[count].last - found[count].first + 1;
        count++;
    }
    memcpy(insert_leaves(m, iova, count), found, count * sizeof(*found));
    free(found);
}

/* A map of segments; nth != 0: that allocation fails. */
static void run_map(struct model *m, uint64_t iova, const struct piommu_segment *segments,
                    size_t count, piommu_prot prot, uint32_t nth)
{
    bool either = false;
    int expected = expected_map_error(m, iova, segments, count, &either);
    uint64_t total = 0;
    uint64_t expected_size = 0;
    uint64_t mapped = 0xdead;
    uint64_t address = iova;
    size_t pieces;
    size_t index;
    struct walker_result before;
    int result;

    for (size_t i = 0; i < count; i++) {
        total += segments[i].size;
    }
    if (expected == 0) {
        if ((total > 64 * 4096 && m->count > MAXIMUM_LEAVES) ||
            is_too_large(m, iova, segments, count)) {
            return;
        }
        if (overlaps_pending(m, iova, iova + total - 1)) {
            run_sync(m);
            pieces = m->p->piece_count;
        }
        expected_size = total;
        index = leaf_index(m, iova);
        if (index < m->count && m->leaves[index].first < iova + total) {
            expected = -PIOMMU_EEXIST;
            expected_size = m->leaves[index].first > iova ? m->leaves[index].first - iova : 0;
        }
        address = iova + next_random(&m->random) % total;
        translate(m, address, &before);
    }

    pieces = m->p->piece_count;
    if (nth != 0) {
        fake_os_fail_call(m->p->os, nth, true);
    }
    if (count == 1) {
        say(m, "    map(0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64 ", prot 0x%x)", iova,
            segments[0].physical, segments[0].size, (unsigned int)prot);
        result = piommu_pgtable_map(m->p->table, iova, segments[0].physical, segments[0].size, prot,
                                    &mapped);
    } else {
        say(m, "    map_list(0x%" PRIx64 ", {", iova);
        for (size_t i = 0; i < count; i++) {
            say(m, "%s{0x%" PRIx64 ", 0x%" PRIx64 "}", i == 0 ? "" : ", ", segments[i].physical,
                segments[i].size);
        }
        say(m, "}, prot 0x%x)", (unsigned int)prot);
        result = piommu_pgtable_map_list(m->p->table, iova, segments, count, prot, &mapped);
    }
    fake_os_fail_call(m->p->os, 0, false);
    say(m, " = %d, mapped 0x%" PRIx64 "%s\n", result, mapped,
        nth != 0 ? " (allocations fail from some call on)" : "");

    if (nth != 0 && result == -PIOMMU_ENOMEM && (expected == 0 || expected == -PIOMMU_EEXIST)) {
        CHECK(mapped == 0);
        CHECK(m->p->piece_count == pieces);
        probe_range(m, iova, iova + total - 1);
        return;
    }
    CHECK(result == expected || (either && result == -PIOMMU_ERANGE));
    CHECK(mapped == expected_size);
    if (mapped != 0) {
        learn_leaves(m, iova, segments, mapped, prot);
        if (address - iova < mapped) {
            CHECK(before.fault == WALKER_FAULT_TRANSLATION);
            check_largest(m, iova, segments, mapped, address, before.level);
        }
        probe_range(m, iova, iova + mapped - 1);
    }
    if (result == -PIOMMU_EEXIST) {
        probe(m, iova + mapped);
    }
}

static void run_unmap(struct model *m, uint64_t iova, uint64_t size)
{
    struct pgt *p = m->p;
    uint64_t last = iova + (size - 1);
    uint64_t expected_size = 0;
    uint64_t unmapped = 0xdead;
    uint64_t first_removed = 0;
    uint64_t last_removed = 0;
    size_t index = leaf_index(m, iova);
    size_t behind = index;
    int expected = 0;
    int result;

    if (size == 0) {
        expected = -PIOMMU_EINVAL;
    } else if (!fits(iova, size, m->end)) {
        expected = -PIOMMU_ERANGE;
    } else {
        while (behind < m->count && m->leaves[behind].first <= last) {
            expected_size += m->leaves[behind].last - m->leaves[behind].first + 1;
            behind++;
        }
        if (behind == index) {
            expected = -PIOMMU_ENOENT;
        } else if (m->leaves[index].first < iova || m->leaves[behind - 1].last > last) {
            expected = -PIOMMU_ECUT;
        } else {
            first_removed = m->leaves[index].first;
            last_removed = m->leaves[behind - 1].last;
            /* In the TLB before, if only some of it. */
            probe(m, first_removed);
            probe(m, last_removed);
            probe(m, m->leaves[(index + behind) / 2].first);
        }
    }
    if (m->pending_count == MAXIMUM_PENDING) {
        run_sync(m);
    }
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
    result = piommu_pgtable_unmap(p->table, iova, size, &m->gather, &unmapped);
    fake_os_forbid(p->os, 0);
    say(m, "    unmap(0x%" PRIx64 ", 0x%" PRIx64 ") = %d, unmapped 0x%" PRIx64 "\n", iova, size,
        result, unmapped);
    CHECK(result == expected);
    CHECK(unmapped == (expected == 0 ? expected_size : 0));
    if (result != 0) {
        CHECK(m->gather.pending || m->pending_count == 0);
        if (expected != -PIOMMU_EINVAL && expected != -PIOMMU_ERANGE) {
            probe_range(m, iova, last);
        }
        return;
    }
    CHECK(m->gather.pending);
    CHECK(m->gather.range.first <= first_removed && m->gather.range.last >= last_removed);
    memmove(&m->leaves[index], &m->leaves[behind], (m->count - behind) * sizeof(*m->leaves));
    m->count -= behind - index;
    m->pending[m->pending_count++] =
        (struct piommu_range){.first = first_removed, .last = last_removed};
    probe_range(m, iova, last);
}

/* All leaves that reach into a range, one after the other. */
static void run_next_leaf(struct model *m, uint64_t first, uint64_t last)
{
    size_t index = leaf_index(m, first);
    struct piommu_translation translation;
    uint64_t found;

    say(m, "    next_leaf from 0x%" PRIx64 " to 0x%" PRIx64 "\n", first, last);
    for (;;) {
        int result = piommu_pgtable_next_leaf(m->p->table, first, last, &found, &translation);

        if (index == m->count || m->leaves[index].first > last) {
            CHECK(result == -PIOMMU_ENOENT);
            return;
        }
        CHECK(result == 0);
        CHECK(found == m->leaves[index].first);
        CHECK(translation.physical == m->leaves[index].physical);
        CHECK(translation.leaf_size - 1 == m->leaves[index].last - found);
        CHECK(translation.prot == m->leaves[index].prot);
        if (m->leaves[index].last >= last) {
            return;
        }
        first = m->leaves[index].last + 1;
        index++;
    }
}

static void run_operation(struct model *m, const struct operation *operation)
{
    const uint32_t *raw = operation->raw;
    struct piommu_segment segments[MAXIMUM_SEGMENTS];
    uint64_t iova;
    uint64_t size;
    uint64_t agreement;

    choose_range(m, raw, &iova, &size, &agreement);
    switch (operation->kind) {
    case OPERATION_MAP:
    case OPERATION_MAP_WITHOUT_MEMORY:
        segments[0].physical = choose_output(m, raw[3], iova, agreement);
        segments[0].size = size;
        run_map(m, iova, segments, 1, choose_prot(m, raw[4]),
                operation->kind == OPERATION_MAP ? 0 : raw[5] % 5 + 1);
        break;
    case OPERATION_MAP_LIST: {
        size_t count = raw[5] % MAXIMUM_SEGMENTS + 1;
        uint64_t next = iova;

        for (size_t i = 0; i < count; i++) {
            uint32_t mixed = raw[3] * (uint32_t)(2 * i + 1);

            segments[i].size = i == raw[4] % count ? size : (mixed % 5 + 1) * 4096;
            segments[i].physical = choose_output(m, mixed, next, agreement);
            if (i != 0 && raw[5] % 64 > 40) {
                /* Continues the one before: a leaf may reach over both. */
                segments[i].physical = segments[i - 1].physical + segments[i - 1].size;
            }
            next += segments[i].size;
        }
        run_map(m, iova, segments, count, choose_prot(m, raw[4]),
                raw[5] % 16 == 15 ? raw[5] / 16 % 4 + 1 : 0);
        break;
    }
    case OPERATION_UNMAP:
        run_unmap(m, iova, size);
        break;
    case OPERATION_UNMAP_LEAVES:
        if (m->count != 0) {
            size_t first = raw[1] % m->count;
            size_t last = first + raw[2] % 40;

            last = last < m->count ? last : m->count - 1;
            run_unmap(m, m->leaves[first].first, m->leaves[last].last - m->leaves[first].first + 1);
        }
        break;
    case OPERATION_SYNC:
        run_sync(m);
        break;
    case OPERATION_LOOKUP:
        probe(m, iova + raw[3] % 8192);
        if (m->count != 0) {
            const struct leaf *leaf = &m->leaves[raw[4] % m->count];

            probe_range(m, leaf->first, leaf->last);
        }
        break;
    case OPERATION_NEXT_LEAF:
        if (raw[3] % 8 == 0) {
            run_next_leaf(m, 0, UINT64_MAX);
        } else if (size != 0 && size - 1 <= UINT64_MAX - iova) {
            run_next_leaf(m, iova + raw[3] % 4096, iova + (size - 1));
        }
        break;
    case OPERATION_CHECK:
        check_all(m);
        break;
    }
    check_counts(m);
}

/* ---- Programs ---- */

static struct piommu_pgtable_config choose_config(uint32_t variant)
{
    static const uint8_t input_bits[] = {25, 30, 31, 32, 34, 39, 40, 42, 43, 48};
    static const uint16_t quotas[] = {0, 2, 8};
    static const uint64_t sizes[] = {0, 0, 0, 4 * KIB, 4 * KIB + 2 * MIB, 4 * KIB + GIB};
    uint64_t random = variant;
    unsigned int input = input_bits[next_random(&random) % sizeof(input_bits)];
    struct piommu_pgtable_config config = stage1_config(input);

    if (next_random(&random) % 2 == 0) {
        config = stage2_config(input, input <= 40 ? 40 : 48);
    } else if (next_random(&random) % 2 == 0) {
        config.output_bits = 36;
    }
    config.empty_tables_kept = quotas[next_random(&random) % 3];
    config.leaf_sizes = sizes[next_random(&random) % 6];
    config.coherent_walk = next_random(&random) % 4 != 0;
    return config;
}

static void generate(struct program *program, uint64_t seed, size_t length)
{
    static const enum operation_kind kinds[32] = {
        OPERATION_MAP,          OPERATION_MAP,          OPERATION_MAP,
        OPERATION_MAP,          OPERATION_MAP,          OPERATION_MAP,
        OPERATION_MAP,          OPERATION_MAP,          OPERATION_MAP_LIST,
        OPERATION_MAP_LIST,     OPERATION_MAP_LIST,     OPERATION_MAP_WITHOUT_MEMORY,
        OPERATION_UNMAP,        OPERATION_UNMAP,        OPERATION_UNMAP,
        OPERATION_UNMAP,        OPERATION_UNMAP,        OPERATION_UNMAP_LEAVES,
        OPERATION_UNMAP_LEAVES, OPERATION_UNMAP_LEAVES, OPERATION_UNMAP_LEAVES,
        OPERATION_UNMAP_LEAVES, OPERATION_UNMAP_LEAVES, OPERATION_UNMAP_LEAVES,
        OPERATION_SYNC,         OPERATION_SYNC,         OPERATION_SYNC,
        OPERATION_LOOKUP,       OPERATION_LOOKUP,       OPERATION_NEXT_LEAF,
        OPERATION_LOOKUP,       OPERATION_CHECK,
    };

    program->variant = (uint32_t)next_random(&seed);
    program->length = length;
    for (size_t i = 0; i < length; i++) {
        struct operation *operation = &program->operations[i];

        operation->kind = kinds[next_random(&seed) % 32];
        for (unsigned int j = 0; j < 6; j++) {
            operation->raw[j] = (uint32_t)(next_random(&seed) >> 16);
        }
    }
}

static void add_window(struct model *m, uint64_t base)
{
    if (base < m->end && WINDOW_SIZE <= m->end - base) {
        m->windows[m->window_count++] = base;
    }
}

static void run_program(const struct program *program, bool verbose)
{
    struct piommu_pgtable_config config = choose_config(program->variant);
    struct fake_os_options options = {
        .scattered = program->variant % 4 == 1,
        .non_coherent = !config.coherent_walk,
        .seed = program->variant,
    };
    struct model *m = calloc(1, sizeof(*m));

    m->p = open_table_with(&config, &options);
    /* To look at all tables at each barrier takes long. */
    m->p->is_watched = program->variant % (config.coherent_walk ? 16 : 64) == 0;
    m->verbose = verbose;
    m->end = 1ull << config.input_bits;
    m->output_end = 1ull << config.output_bits;
    m->random = program->variant;
    add_window(m, 0);
    add_window(m, GIB - WINDOW_SIZE / 2);
    add_window(m, 512 * GIB - WINDOW_SIZE / 2);
    add_window(m, m->end / 2 - WINDOW_SIZE / 2);
    add_window(m, m->end - WINDOW_SIZE);
    piommu_gather_init(&m->gather);
    say(m, "  stage %d, %u bits to %u, %s, %s, %u empty tables kept, leaf sizes 0x%" PRIx64 ":\n",
        (int)config.format, config.input_bits, config.output_bits,
        config.coherent_walk ? "coherent" : "not coherent",
        options.scattered ? "scattered" : "linear", config.empty_tables_kept, config.leaf_sizes);

    for (size_t i = 0; i < program->length; i++) {
        run_operation(m, &program->operations[i]);
    }
    run_sync(m);
    check_all(m);
    run_next_leaf(m, 0, UINT64_MAX);
    if (m->count != 0 && program->variant % 2 == 0) {
        run_unmap(m, 0, m->end);
        run_sync(m);
        check_all(m);
        CHECK(m->count == 0);
        CHECK(config.empty_tables_kept != 0 || m->p->piece_count == 1);
    }
    close_table(m->p);
    free(m->leaves);
    free(m);
}

/* Runs a program in a process of its own; true if it failed. */
static bool fails(const struct program *program, bool silent, bool verbose)
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (child == 0) {
        if (silent) {
            int nowhere = open("/dev/null", O_WRONLY);

            dup2(nowhere, STDOUT_FILENO);
            dup2(nowhere, STDERR_FILENO);
        }
        alarm(PROGRAM_SECONDS);
        run_program(program, verbose);
        exit(0);
    }
    if (waitpid(child, &status, 0) != child) {
        perror("waitpid");
        exit(2);
    }
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* Deletes chunks of operations, large ones first, as long as what is left still fails. */
static void shrink(struct program *program)
{
    struct program *candidate = malloc(sizeof(*candidate));
    unsigned int attempts = 0;
    size_t chunk = program->length / 2;

    while (chunk != 0) {
        bool shorter = false;
        size_t behind = program->length;

        /* From the end: what follows the failure goes at once. */
        while (behind != 0 && attempts < SHRINK_ATTEMPTS) {
            size_t start = behind > chunk ? behind - chunk : 0;

            *candidate = *program;
            memmove(&candidate->operations[start], &candidate->operations[behind],
                    (program->length - behind) * sizeof(struct operation));
            candidate->length -= behind - start;
            attempts++;
            if (fails(candidate, true, false)) {
                *program = *candidate;
                shorter = true;
            }
            behind = start;
        }
        if (!shorter || chunk > 1) {
            chunk /= 2;
        }
    }
    free(candidate);
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

int main(void)
{
    uint64_t steps = number_from_environment("PIOMMU_RANDOM_STEPS", DEFAULT_STEPS);
    uint64_t seed = number_from_environment("PIOMMU_RANDOM_SEED", 1);
    struct program *program = malloc(sizeof(*program));
    uint64_t number = 0;

    printf("random io-pgtable: PIOMMU_RANDOM_SEED=%" PRIu64 " PIOMMU_RANDOM_STEPS=%" PRIu64 "\n",
           seed, steps);
    for (uint64_t done = 0; done < steps; number++) {
        uint64_t state = seed * 0x100000001b3ull + number;
        size_t length = steps - done < PROGRAM_LENGTH ? (size_t)(steps - done) : PROGRAM_LENGTH;

        generate(program, next_random(&state), length);
        if (fails(program, false, false)) {
            fprintf(stderr, "program %" PRIu64 " failed; PIOMMU_RANDOM_SEED=%" PRIu64 "\n", number,
                    seed);
            shrink(program);
            fprintf(stderr, "smallest failing program, %zu operations:\n", program->length);
            fails(program, false, true);
            free(program);
            return 1;
        }
        done += length;
    }
    printf("%" PRIu64 " programs passed\n", number);
    free(program);
    return 0;
}
