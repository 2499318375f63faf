/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable_model.h"

#include <piommu/io-pgtable-inspect.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The TLB searches from end to end. */
#define TLB_ROOM 256u

void model_init(struct pgtable_model *m, struct pgtable_host *h, uint64_t seed)
{
    memset(m, 0, sizeof(*m));
    m->h = h;
    m->rules = &h->rules;
    m->random = seed;
}

void model_free(struct pgtable_model *m)
{
    free(m->leaves);
    m->leaves = NULL;
}

void model_say(const struct pgtable_model *m, const char *format, ...)
{
    va_list arguments;

    if (!m->verbose) {
        return;
    }
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

/* ---- The list ---- */

size_t model_index(const struct pgtable_model *m, uint64_t address)
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

const struct model_leaf *model_leaf_at(const struct pgtable_model *m, uint64_t address)
{
    size_t index = model_index(m, address);

    return index < m->count && m->leaves[index].first <= address ? &m->leaves[index] : NULL;
}

void model_insert(struct pgtable_model *m, const struct model_leaf *leaves, size_t count)
{
    size_t index;

    if (count == 0) {
        return;
    }
    if (m->count + count > m->room) {
        m->room = 2 * (m->count + count) + 256;
        m->leaves = realloc(m->leaves, m->room * sizeof(*m->leaves));
    }
    index = model_index(m, leaves[0].first);
    memmove(&m->leaves[index + count], &m->leaves[index], (m->count - index) * sizeof(*m->leaves));
    memcpy(&m->leaves[index], leaves, count * sizeof(*m->leaves));
    m->count += count;
}

void model_erase(struct pgtable_model *m, size_t first, size_t behind)
{
    if (first < behind) {
        memmove(&m->leaves[first], &m->leaves[behind], (m->count - behind) * sizeof(*m->leaves));
        m->count -= behind - first;
    }
}

uint64_t model_mapped_bytes(const struct pgtable_model *m, uint64_t first, uint64_t last)
{
    uint64_t bytes = 0;

    for (size_t i = model_index(m, first); i < m->count && m->leaves[i].first <= last; i++) {
        uint64_t begin = m->leaves[i].first > first ? m->leaves[i].first : first;
        uint64_t end = m->leaves[i].last < last ? m->leaves[i].last : last;

        bytes += end - begin + 1;
    }
    return bytes;
}

void ranges_add(struct model_ranges *ranges, unsigned int owner, uint64_t first, uint64_t last)
{
    CHECK(ranges->count < MODEL_MAXIMUM_RANGES);
    ranges->owners[ranges->count] = owner;
    ranges->ranges[ranges->count++] = (struct piommu_range){.first = first, .last = last};
}

struct model_ranges ranges_of(const struct model_ranges *ranges, unsigned int owner)
{
    struct model_ranges result = {.count = 0};

    for (size_t i = 0; i < ranges->count; i++) {
        if (ranges->owners[i] == owner) {
            ranges_add(&result, owner, ranges->ranges[i].first, ranges->ranges[i].last);
        }
    }
    return result;
}

void ranges_drop(struct model_ranges *ranges, unsigned int owner)
{
    size_t kept = 0;

    for (size_t i = 0; i < ranges->count; i++) {
        if (ranges->owners[i] != owner) {
            ranges->owners[kept] = ranges->owners[i];
            ranges->ranges[kept++] = ranges->ranges[i];
        }
    }
    ranges->count = kept;
}

bool ranges_overlap(const struct model_ranges *ranges, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < ranges->count; i++) {
        if (ranges->ranges[i].first <= last && ranges->ranges[i].last >= first) {
            return true;
        }
    }
    return false;
}

/* One operation adds no more than two. */
bool ranges_full(const struct model_ranges *ranges)
{
    return ranges->count + 2 > MODEL_MAXIMUM_RANGES;
}

/* ---- An address ---- */

static bool in_aperture(const struct pgtable_model *m, uint64_t address)
{
    return address >= m->rules->aperture.first && address <= m->rules->aperture.last;
}

static bool is_group(const struct pgtable_model *m, const struct model_leaf *leaf)
{
    return (m->rules->contiguous_sizes & (leaf->last - leaf->first + 1)) != 0;
}

void model_check_translation(struct pgtable_model *m, const struct model_leaf *leaf,
                             uint64_t address, const struct piommu_walker_result *result,
                             bool rights_are_known)
{
    uint64_t member = rules_member_size(m->rules, leaf->last - leaf->first + 1);

    CHECK(result->fault == PIOMMU_WALKER_FAULT_NONE);
    CHECK(result->output == leaf->physical + (address - leaf->first));
    CHECK(1ull << result->leaf_shift == member);
    if (rights_are_known) {
        CHECK(host_attributes_mean(m->h, &result->attributes, leaf->prot, is_group(m, leaf),
                                   leaf->tracked));
    }
}

static void check_step(struct pgtable_model *m, const struct piommu_walker_step *seen,
                       const struct piommu_pgtable_step *step, uint64_t address)
{
    uint64_t span = 1ull << piommu_walker_level_shift(&m->h->regime, seen->level);

    CHECK(step->level == seen->level);
    CHECK(step->descriptor == seen->descriptor);
    CHECK(step->table_physical + 8 * (uint64_t)step->index == seen->location);
    CHECK((step->kind == PIOMMU_PGTABLE_STEP_TABLE) == seen->is_table);
    CHECK(step->covers.first == (address & ~(span - 1)));
    CHECK(step->covers.last == (address | (span - 1)));
    if (seen->is_table) {
        CHECK(step->physical == seen->next_table);
    }
}

static void check_walk(struct pgtable_model *m, const struct model_leaf *leaf, uint64_t address)
{
    struct piommu_pgtable_walk walk;
    struct piommu_walker_result result;
    const struct piommu_pgtable_step *last;
    int error = piommu_pgtable_walk(m->h->table, address, &walk);

    if (!in_aperture(m, address)) {
        CHECK(error == -PIOMMU_ERANGE);
        return;
    }
    CHECK(error == (leaf != NULL ? 0 : -PIOMMU_ENOENT));
    host_walk_as_cpu(m->h, address, &result);
    CHECK(walk.count == result.step_count);
    for (unsigned int i = 0; i < walk.count; i++) {
        check_step(m, &result.steps[i], &walk.steps[i], address);
        if (result.steps[i].is_table && m->rules->stage == 1) {
            bool secure = (m->rules->config.flags & PIOMMU_PGTABLE_NON_SECURE) == 0;

            CHECK(walk.steps[i].descriptor >> 63 == (secure ? 0 : 1));
        }
    }
    last = &walk.steps[walk.count - 1];
    if (leaf == NULL) {
        CHECK(last->kind == PIOMMU_PGTABLE_STEP_INVALID);
        return;
    }
    CHECK(last->kind == PIOMMU_PGTABLE_STEP_LEAF);
    CHECK(last->physical == leaf->physical + (last->covers.first - leaf->first));
    CHECK(last->prot == leaf->prot);
    CHECK(last->contiguous == is_group(m, leaf));
    CHECK(last->accessed);
    CHECK(last->tracked == leaf->tracked);
    CHECK(last->dirty == result.attributes.dirty);
    CHECK(leaf->dirty || !last->dirty);
}

/* What a lookup says of the hole around an address. */
static void check_hole(struct pgtable_model *m, uint64_t address, uint64_t size)
{
    struct piommu_walker_result result;
    uint64_t first = address & ~(size - 1);
    size_t index = model_index(m, first);

    host_walk_as_cpu(m->h, address, &result);
    CHECK(size >= 1ull << rules_level_shift(m->rules, result.level));
    CHECK(size != 0 && (size & (size - 1)) == 0);
    CHECK(index == m->count || m->leaves[index].first > (first | (size - 1)));
}

static void check_lookup(struct pgtable_model *m, const struct model_leaf *leaf, uint64_t address)
{
    struct piommu_translation translation;
    int error = piommu_pgtable_lookup(m->h->table, address, &translation);

    if (leaf == NULL) {
        CHECK(error == (in_aperture(m, address) ? -PIOMMU_ENOENT : -PIOMMU_ERANGE));
        if (error == -PIOMMU_ENOENT) {
            check_hole(m, address, translation.leaf_size);
        }
        return;
    }
    CHECK(error == 0);
    CHECK(translation.physical == leaf->physical + (address - leaf->first));
    CHECK(translation.leaf_size - 1 == leaf->last - leaf->first);
    CHECK(translation.prot == leaf->prot);
}

static void check_tlb(struct pgtable_model *m, const struct model_leaf *leaf, uint64_t address)
{
    static const struct piommu_walker_access nothing = {.privileged = true};
    struct stale_tlb *tlb = m->h->tlb;
    struct piommu_walker_result result;

    if (stale_tlb_leaf_count(tlb) > TLB_ROOM || stale_tlb_table_count(tlb) > TLB_ROOM) {
        stale_tlb_invalidate_all(tlb);
    }
    stale_tlb_translate(tlb, &m->h->regime, &m->h->memory, address, &nothing, &result);
    if (leaf == NULL) {
        CHECK(result.fault == PIOMMU_WALKER_FAULT_TRANSLATION);
    } else if ((m->rules->config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0 &&
               ranges_overlap(&m->changed, leaf->first, leaf->last)) {
        /* It may be what stays of a leaf that was replaced without a break. */
        CHECK(result.fault == PIOMMU_WALKER_FAULT_NONE);
        CHECK(result.output == leaf->physical + (address - leaf->first));
    } else {
        model_check_translation(m, leaf, address, &result,
                                !ranges_overlap(&m->changed, leaf->first, leaf->last));
    }
    CHECK(stale_tlb_conflicts(tlb) == 0);
}

void model_probe(struct pgtable_model *m, uint64_t address)
{
    const struct model_leaf *leaf = model_leaf_at(m, address);
    struct piommu_walker_result result;

    check_lookup(m, leaf, address);
    if (pgtable_random(&m->random) % 4 == 0) {
        check_walk(m, leaf, address);
    }
    if (leaf == NULL) {
        if (ranges_overlap(&m->removed, address, address)) {
            return; /* hardware may see either */
        }
        host_walk(m->h, address, &result);
        CHECK(result.fault == PIOMMU_WALKER_FAULT_TRANSLATION);
    } else {
        host_walk(m->h, address, &result);
        /* A change of rights need not have arrived where the walker does not snoop. */
        model_check_translation(m, leaf, address, &result, true);
    }
    check_tlb(m, leaf, address);
}

void model_probe_range(struct pgtable_model *m, uint64_t first, uint64_t last)
{
    model_probe(m, first);
    model_probe(m, last);
    if (last - first != UINT64_MAX) {
        model_probe(m, first + pgtable_random(&m->random) % (last - first + 1));
    }
    if (first != 0) {
        model_probe(m, first - 1);
    }
    if (last != UINT64_MAX) {
        model_probe(m, last + 1);
    }
}

/* ---- Everything ---- */

struct comparison {
    struct pgtable_model *m;
    size_t leaf;     /* index of the next one that is expected */
    uint64_t within; /* bytes of it that were seen */
    bool dirty;      /* a member was */
    uint64_t descriptors;
    uint64_t bytes;
};

static bool compare_with_model(void *ctx, const struct piommu_walker_leaf *seen)
{
    struct comparison *comparison = ctx;
    struct pgtable_model *m = comparison->m;
    const struct model_leaf *leaf = &m->leaves[comparison->leaf];
    uint64_t size = 1ull << seen->shift;

    CHECK(comparison->leaf < m->count);
    CHECK(seen->input == leaf->first + comparison->within);
    CHECK(seen->output == leaf->physical + comparison->within);
    CHECK(size == rules_member_size(m->rules, leaf->last - leaf->first + 1));
    CHECK(host_attributes_mean(m->h, &seen->attributes, leaf->prot, is_group(m, leaf),
                               leaf->tracked));
    comparison->dirty = comparison->dirty || seen->attributes.dirty;
    comparison->descriptors++;
    comparison->bytes += size;
    comparison->within += size;
    if (comparison->within - 1 == leaf->last - leaf->first) {
        CHECK(comparison->dirty == leaf->dirty);
        comparison->leaf++;
        comparison->within = 0;
        comparison->dirty = false;
    }
    return true;
}

static void complain(void *cookie, const struct piommu_pgtable_problem *problem)
{
    (void)cookie;
    fprintf(stderr, "verify: %s at level %d, descriptor 0x%llx, input 0x%llx\n",
            piommu_pgtable_problem_name(problem->kind), problem->step.level,
            (unsigned long long)problem->step.descriptor,
            (unsigned long long)problem->step.covers.first);
}

void model_check_all(struct pgtable_model *m)
{
    struct pgtable_host *h = m->h;
    struct comparison comparison = {.m = m};
    struct piommu_pgtable_statistics statistics;
    struct piommu_pgtable_report report;

    host_settle(h);
    host_check_structure(h);
    CHECK(piommu_walker_for_each_leaf(&h->regime, &h->memory, compare_with_model, &comparison));
    CHECK(comparison.leaf == m->count && comparison.within == 0);

    host_observe(h);
    piommu_pgtable_get_statistics(h->table, &statistics);
    if (!rules_is_disjoint(m->rules)) {
        CHECK(statistics.tables_empty == h->empty_count);
    }
    CHECK(statistics.tables_empty <= h->empty_count);
    CHECK(h->leaf_count == comparison.descriptors);
    CHECK(h->linked_count + statistics.tables_spare <= h->piece_count - 1);

    CHECK(piommu_pgtable_verify(h->table, complain, NULL, &report) == 0);
    CHECK(report.problems == 0);
    CHECK(report.tables == h->linked_count);
    CHECK(report.empty == h->empty_count);
    CHECK(report.leaves == comparison.descriptors);
    CHECK(report.mapped == comparison.bytes);
}

void model_check_counters(struct pgtable_model *m)
{
    struct piommu_pgtable_statistics statistics;

    piommu_pgtable_get_statistics(m->h->table, &statistics);
    CHECK(statistics.tables_allocated - statistics.tables_freed == m->h->piece_count - 1);
    CHECK(statistics.tables_spare <= statistics.tables_reserved);
    CHECK(statistics.tables_empty + (uint64_t)statistics.tables_spare <= m->h->piece_count - 1);
}

/* ---- What leaves a map makes ---- */

/* There is no table below any of the descriptors that a leaf of this size would take. */
static bool place_is_free(struct pgtable_model *m, uint64_t address, uint64_t size)
{
    bool group;
    int level = rules_level_of_size(m->rules, size, &group);
    uint64_t member = rules_member_size(m->rules, size);
    struct piommu_walker_result result;

    for (uint64_t done = 0; level < 3 && done < size; done += member) {
        host_walk_as_cpu(m->h, address + done, &result);
        CHECK(result.fault == PIOMMU_WALKER_FAULT_TRANSLATION);
        if (result.level > level) {
            return false;
        }
    }
    return true;
}

size_t model_predict(struct pgtable_model *m, uint64_t iova, uint64_t physical, uint64_t size,
                     struct model_leaf *leaves, size_t room)
{
    uint64_t done = 0;
    size_t count = 0;

    while (done < size && count < room) {
        uint64_t chosen = 0;

        for (size_t i = 0; chosen == 0; i++) {
            uint64_t candidate = m->rules->sizes[i];

            CHECK(i < m->rules->size_count);
            if ((((iova + done) | (physical + done)) & (candidate - 1)) == 0 &&
                candidate <= size - done && place_is_free(m, iova + done, candidate)) {
                chosen = candidate;
            }
        }
        leaves[count++] = (struct model_leaf){
            .first = iova + done,
            .last = iova + done + (chosen - 1),
            .physical = physical + done,
        };
        done += chosen;
    }
    return count;
}

struct model_leaf model_learn(struct pgtable_model *m, uint64_t address)
{
    struct piommu_walker_result result;
    struct model_leaf leaf = {0};
    uint64_t size;

    host_walk(m->h, address, &result);
    CHECK(result.fault == PIOMMU_WALKER_FAULT_NONE);
    size = 1ull << result.leaf_shift;
    CHECK((m->rules->leaf_sizes & size) != 0);
    if (result.attributes.contiguous) {
        size *= piommu_walker_contiguous_entries(&m->h->regime, result.level);
        CHECK((m->rules->contiguous_sizes & size) != 0);
    }
    leaf.first = address & ~(size - 1);
    leaf.last = address | (size - 1);
    leaf.physical = result.output - (address - leaf.first);
    leaf.tracked = result.attributes.dirty_bit_modifier;
    leaf.dirty = result.attributes.dirty;
    return leaf;
}
