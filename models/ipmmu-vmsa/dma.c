/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* TLBs, walks, and the masters that cause them. */

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where an answer was found. */
enum source {
    SOURCE_MICRO_TLB,
    SOURCE_CACHE,
    SOURCE_ROOT,
    SOURCE_WALK,
};

/* What becomes of an access, and what hardware learns on the way. */
struct answer {
    enum piommu_ipmmu_model_verdict verdict;
    uint64_t physical;
    uint32_t status; /* for IMSTR, if it is a fault that the root reports */
    unsigned int context;
    enum source source;
    bool has_leaf;
    struct model_leaf leaf;
    /* Of the walk. */
    struct model_pointer pointers[PIOMMU_WALKER_MAXIMUM_STEPS];
    size_t pointer_count;
};

static bool overlaps(uint64_t first, uint64_t last, uint64_t other_first, uint64_t other_last)
{
    return first <= other_last && other_first <= last;
}

/* ---- forgetting ---- */

static void drop_leaves(struct model_tlb *tlb, unsigned int context, uint64_t entered_until)
{
    size_t kept = 0;

    for (size_t i = 0; i < tlb->leaf_count; i++) {
        if (tlb->leaves[i].context != context || tlb->leaves[i].entered > entered_until) {
            tlb->leaves[kept++] = tlb->leaves[i];
        }
    }
    tlb->leaf_count = kept;
}

void piommu_ipmmu_model_drop_(struct model_unit *unit, unsigned int context, uint64_t started)
{
    struct model_tlb *tlb = &unit->tlb[context];
    size_t kept = 0;

    drop_leaves(tlb, context, started);
    for (size_t i = 0; i < tlb->pointer_count; i++) {
        if (tlb->pointers[i].learned > started) {
            tlb->pointers[kept++] = tlb->pointers[i];
        }
    }
    tlb->pointer_count = kept;
    for (unsigned int n = 0; n < unit->is.micro_tlbs; n++) {
        drop_leaves(&unit->micro_tlb[n], context, started);
    }
}

static void drop_refills(struct model_tlb *tlb, unsigned int context, uint64_t flushed,
                         uint64_t started)
{
    size_t kept = 0;

    for (size_t i = 0; i < tlb->leaf_count; i++) {
        const struct model_leaf *leaf = &tlb->leaves[i];

        /* What it says is older than the unit's FLUSH, but it came after that. */
        if (leaf->context != context || leaf->entered <= flushed || leaf->learned > flushed ||
            leaf->learned > started) {
            tlb->leaves[kept++] = *leaf;
        }
    }
    tlb->leaf_count = kept;
}

void piommu_ipmmu_model_drop_refills_(struct model_unit *unit, unsigned int context,
                                      uint64_t started)
{
    uint64_t flushed = unit->flush[context].started;

    drop_refills(&unit->tlb[context], context, flushed, started);
    for (unsigned int n = 0; n < unit->is.micro_tlbs; n++) {
        drop_refills(&unit->micro_tlb[n], context, flushed, started);
    }
}

void piommu_ipmmu_model_drop_micro_tlb_(struct model_unit *unit, unsigned int micro_tlb)
{
    unit->micro_tlb[micro_tlb].leaf_count = 0;
}

void piommu_ipmmu_model_drop_all_(struct model_unit *unit)
{
    for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS; n++) {
        unit->tlb[n].leaf_count = 0;
        unit->tlb[n].pointer_count = 0;
    }
    for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS; n++) {
        unit->micro_tlb[n].leaf_count = 0;
    }
}

void piommu_ipmmu_model_free_tlbs_(struct model_unit *unit)
{
    for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS; n++) {
        free(unit->tlb[n].leaves);
        free(unit->tlb[n].pointers);
    }
    for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS; n++) {
        free(unit->micro_tlb[n].leaves);
    }
}

static bool has_leaf_after(const struct model_tlb *tlb, unsigned int context, uint64_t covered)
{
    for (size_t i = 0; i < tlb->leaf_count; i++) {
        if (tlb->leaves[i].context == context && tlb->leaves[i].entered > covered) {
            return true;
        }
    }
    return false;
}

bool piommu_ipmmu_model_holds_uncovered_(const struct model_unit *unit, unsigned int context)
{
    const struct model_tlb *tlb = &unit->tlb[context];
    uint64_t covered = unit->flush[context].is_running ? unit->flush[context].started : 0;

    for (size_t i = 0; i < tlb->pointer_count; i++) {
        if (tlb->pointers[i].learned > covered) {
            return true;
        }
    }
    for (unsigned int n = 0; n < unit->is.micro_tlbs; n++) {
        if (has_leaf_after(&unit->micro_tlb[n], context, covered)) {
            return true;
        }
    }
    return has_leaf_after(tlb, context, covered);
}

/* ---- remembering ---- */

static void keep_leaf(struct model_unit *unit, struct model_tlb *tlb, const struct model_leaf *leaf)
{
    for (size_t i = 0; i < tlb->leaf_count; i++) {
        const struct model_leaf *other = &tlb->leaves[i];

        if (other->context == leaf->context &&
            overlaps(other->first, other->last, leaf->first, leaf->last)) {
            unit->counters.conflicts++;
            break;
        }
    }
    if (tlb->leaf_count == tlb->leaf_room) {
        tlb->leaves = piommu_ipmmu_model_grow_(tlb->leaves, &tlb->leaf_room, sizeof(*tlb->leaves));
    }
    tlb->leaves[tlb->leaf_count++] = *leaf;
}

static void keep_pointer(struct model_tlb *tlb, const struct model_pointer *pointer)
{
    for (size_t i = 0; i < tlb->pointer_count; i++) {
        if (tlb->pointers[i].first == pointer->first && tlb->pointers[i].last == pointer->last) {
            return;
        }
    }
    if (tlb->pointer_count == tlb->pointer_room) {
        tlb->pointers =
            piommu_ipmmu_model_grow_(tlb->pointers, &tlb->pointer_room, sizeof(*tlb->pointers));
    }
    tlb->pointers[tlb->pointer_count++] = *pointer;
}

static void learn(struct piommu_ipmmu_model *model, struct model_unit *unit, unsigned int micro_tlb,
                  const struct answer *answer)
{
    struct model_unit *root = root_of(model, unit);
    struct model_leaf leaf = answer->leaf;

    if (answer->source == SOURCE_WALK && !model->readings.walks_not_kept) {
        for (size_t i = 0; i < answer->pointer_count; i++) {
            keep_pointer(&root->tlb[answer->context], &answer->pointers[i]);
        }
    }
    if (!answer->has_leaf) {
        return;
    }
    if (answer->source == SOURCE_WALK) {
        keep_leaf(root, &root->tlb[answer->context], &leaf);
    }
    if (!unit->is_root && answer->source >= SOURCE_ROOT) {
        leaf.entered = model->now;
        if (!cache_is_off(unit)) {
            keep_leaf(unit, &unit->tlb[answer->context], &leaf);
        }
    }
    if (answer->source != SOURCE_MICRO_TLB &&
        model->readings.micro_tlb_entries != PIOMMU_IPMMU_MODEL_MICRO_TLB_EMPTY) {
        keep_leaf(unit, &unit->micro_tlb[micro_tlb], &leaf);
    }
}

/* ---- walks ---- */

static const struct model_pointer *deepest_pointer(const struct model_tlb *tlb, uint64_t input)
{
    const struct model_pointer *deepest = NULL;

    for (size_t i = 0; i < tlb->pointer_count; i++) {
        const struct model_pointer *pointer = &tlb->pointers[i];

        if (pointer->first <= input && input <= pointer->last &&
            (deepest == NULL || pointer->position.level > deepest->position.level)) {
            deepest = pointer;
        }
    }
    return deepest;
}

/* The input that one TLB entry covers: a contiguous group is kept as one. */
static unsigned int entry_shift(const struct piommu_walker_regime *regime,
                                const struct piommu_walker_result *result)
{
    unsigned int shift = result->leaf_shift;
    unsigned int entries = piommu_walker_contiguous_entries(regime, result->level);

    if (!result->attributes.contiguous) {
        return shift;
    }
    for (; entries > 1; entries /= 2) {
        shift++;
    }
    return shift <= regime->input_bits ? shift : result->leaf_shift;
}

static uint32_t status_of(uint32_t bit, int level, unsigned int code)
{
    return bit | (uint32_t)(level < 0 ? 0 : level) << 12 | (uint32_t)code << 8;
}

static uint32_t fault_status(const struct piommu_ipmmu_model *model,
                             const struct piommu_walker_result *result)
{
    switch (result->fault) {
    case PIOMMU_WALKER_FAULT_NONE:
        return 0;
    case PIOMMU_WALKER_FAULT_PERMISSION:
        return status_of(IMSTR_PF, result->level, 4);
    case PIOMMU_WALKER_FAULT_WALK_ABORT:
        return status_of(IMSTR_ABORT, result->level, model->readings.abort_code);
    case PIOMMU_WALKER_FAULT_ACCESS_FLAG:
        if (model->readings.access_flag_is_permission) {
            return status_of(IMSTR_PF, result->level, 4);
        }
        break;
    default:
        break;
    }
    return status_of(IMSTR_TF, result->level, model->readings.translation_code);
}

static struct piommu_walker_access access_of(bool write)
{
    /* Leaves for the privileged only are of use to masters. */
    return (struct piommu_walker_access){.read = !write, .write = write, .privileged = true};
}

/*
 * Is what was found through a kept pointer what a walk from the root finds as well? Then a clear
 * that comes later has not been seen, whatever FLUSH covers the pointer.
 */
static bool is_fresh(const struct piommu_ipmmu_model *model,
                     const struct piommu_walker_regime *regime, uint64_t input,
                     const struct piommu_walker_access *access,
                     const struct piommu_walker_result *result)
{
    struct piommu_walker_result fresh;

    piommu_walker_translate(regime, &model->memory, input, access, &fresh);
    return fresh.step_count > 0 && result->step_count > 0 &&
           fresh.steps[fresh.step_count - 1].location ==
               result->steps[result->step_count - 1].location;
}

/*
 * Stage 1 is refused unless all tables are marked as non-secure. Notes the table pointers up to
 * there. Returns the level of the descriptor at fault, or -1.
 */
static int take_tables(const struct piommu_walker_regime *regime,
                       const struct piommu_walker_result *result, uint64_t input, uint64_t learned,
                       struct answer *answer)
{
    for (unsigned int i = 0; i < result->step_count; i++) {
        const struct piommu_walker_step *step = &result->steps[i];
        uint64_t mask = (UINT64_C(1) << piommu_walker_level_shift(regime, step->level)) - 1;

        if (!step->is_table) {
            continue;
        }
        if (regime->stage == 1 && step->descriptor >> 63 == 0) {
            return step->level;
        }
        answer->pointers[answer->pointer_count++] = (struct model_pointer){
            .first = input & ~mask,
            .last = input | mask,
            .position = {step->level + 1, step->next_table, step->inherited},
            .learned = learned,
        };
    }
    if (regime->stage == 1 &&
        (result->fault == PIOMMU_WALKER_FAULT_NONE ||
         result->fault == PIOMMU_WALKER_FAULT_PERMISSION) &&
        !result->attributes.non_secure) {
        return result->level;
    }
    return -1;
}

static void take_leaf(const struct piommu_walker_regime *regime,
                      const struct piommu_walker_result *result, uint64_t input, uint64_t learned,
                      struct answer *answer)
{
    uint64_t mask = (UINT64_C(1) << entry_shift(regime, result)) - 1;

    answer->has_leaf = true;
    answer->leaf = (struct model_leaf){
        .context = answer->context,
        .first = input & ~mask,
        .last = input | mask,
        .output = result->output & ~mask,
        .level = result->level,
        .attributes = result->attributes,
        .learned = learned,
        .entered = learned,
    };
}

/* Which tables translate an address, and as what input of theirs. */
static const struct piommu_walker_regime *half_of(const struct model_regimes *regimes,
                                                  uint64_t iova, uint64_t *input)
{
    *input = iova;
    if (regimes->has_upper && iova >> (MODEL_ADDRESS_BITS - 1) == 1) {
        *input |= ~UINT64_C(0) << MODEL_ADDRESS_BITS;
        return &regimes->upper;
    }
    return &regimes->lower;
}

static void walk(const struct piommu_ipmmu_model *model, const struct model_unit *root,
                 uint64_t iova, const struct piommu_walker_access *access, struct answer *answer)
{
    const struct model_pointer *pointer = deepest_pointer(&root->tlb[answer->context], iova);
    const struct piommu_walker_regime *regime;
    struct model_regimes regimes;
    struct piommu_walker_result result;
    uint64_t learned = model->now;
    uint64_t input;
    int insecure;

    answer->source = SOURCE_WALK;
    if (piommu_ipmmu_model_setup_(model, root, answer->context, &regimes) != NULL) {
        answer->status = status_of(IMSTR_TF, 1, model->readings.translation_code);
        return;
    }
    regime = half_of(&regimes, iova, &input);
    if (pointer != NULL) {
        piommu_walker_translate_from(regime, &model->memory, input, access, &pointer->position,
                                     &result);
        if (!is_fresh(model, regime, input, access, &result)) {
            learned = pointer->learned;
        }
    } else {
        piommu_walker_translate(regime, &model->memory, input, access, &result);
    }
    insecure = take_tables(regime, &result, iova, learned, answer);
    if (insecure >= 0) {
        answer->status = status_of(IMSTR_PF, insecure, 5);
        return;
    }
    answer->status = fault_status(model, &result);
    if (result.fault == PIOMMU_WALKER_FAULT_NONE ||
        result.fault == PIOMMU_WALKER_FAULT_PERMISSION) {
        take_leaf(regime, &result, iova, learned, answer);
    }
    if (result.fault == PIOMMU_WALKER_FAULT_NONE) {
        answer->verdict = PIOMMU_IPMMU_MODEL_TRANSLATED;
        answer->physical = result.output;
    }
}

/* ---- lookups ---- */

/* True if the TLB answers. Without `only_context`, entries of others are as good. */
static bool look_up(const struct piommu_ipmmu_model *model, const struct model_tlb *tlb,
                    bool only_context, uint64_t input, const struct piommu_walker_access *access,
                    enum source source, struct answer *answer)
{
    const struct model_leaf *found = NULL;

    for (size_t i = 0; i < tlb->leaf_count; i++) {
        const struct model_leaf *leaf = &tlb->leaves[i];

        if (input < leaf->first || input > leaf->last ||
            (only_context && leaf->context != answer->context)) {
            continue;
        }
        if (found != NULL && found->context == leaf->context &&
            model->readings.multiple_hits_fault) {
            answer->source = source;
            answer->status = status_of(IMSTR_MHIT, 0, model->readings.multiple_code);
            return true;
        }
        if (found == NULL) {
            found = leaf;
        }
    }
    if (found == NULL) {
        return false;
    }
    answer->source = source;
    answer->has_leaf = true;
    answer->leaf = *found;
    if (piommu_walker_permits(&found->attributes, access)) {
        answer->verdict = PIOMMU_IPMMU_MODEL_TRANSLATED;
        answer->physical = found->output + (input - found->first);
    } else {
        answer->status = status_of(IMSTR_PF, found->level, 4);
    }
    return true;
}

static void pass_or_abort(enum piommu_ipmmu_model_disabled reading, uint64_t iova,
                          struct answer *answer)
{
    if (reading == PIOMMU_IPMMU_MODEL_PASSES) {
        answer->verdict = PIOMMU_IPMMU_MODEL_BYPASSED;
        answer->physical = iova;
    }
}

static void find(const struct piommu_ipmmu_model *model, const struct model_unit *unit,
                 unsigned int micro_tlb, uint64_t iova, const struct piommu_walker_access *access,
                 struct answer *answer)
{
    const struct model_unit *root = root_of(model, unit);
    uint32_t imuctr = unit->imuctr[micro_tlb];
    unsigned int context = selected_context(model, imuctr);
    bool is_tagged = model->readings.micro_tlb_entries != PIOMMU_IPMMU_MODEL_MICRO_TLB_UNTAGGED;

    memset(answer, 0, sizeof(*answer));
    answer->context = context;
    if (!unit->is_on) {
        return;
    }
    if ((imuctr & IMUCTR_MMUEN) == 0) {
        pass_or_abort(model->readings.disabled_micro_tlb, iova, answer);
        return;
    }
    if (!root->is_on || (unit->imsctlr & IMSCTLR_SECGRP) != 0 ||
        (root->imsctlr & IMSCTLR_SECGRP) != 0) {
        return;
    }
    /* What does not exist is as good as disabled; that covers left-overs which select the PMB. */
    if (context >= unit->is.contexts || context >= root->is.contexts ||
        !is_set(unit, PIOMMU_IPMMU_MODEL_IMCTR, context, IMCTR_MMUEN) ||
        !is_set(root, PIOMMU_IPMMU_MODEL_IMCTR, context, IMCTR_MMUEN)) {
        pass_or_abort(model->readings.disabled_context, iova, answer);
        return;
    }
    if (look_up(model, &unit->micro_tlb[micro_tlb], is_tagged, iova, access, SOURCE_MICRO_TLB,
                answer)) {
        return;
    }
    if (!unit->is_root && !cache_is_off(unit) &&
        look_up(model, &unit->tlb[context], true, iova, access, SOURCE_CACHE, answer)) {
        return;
    }
    if (!look_up(model, &root->tlb[context], true, iova, access, SOURCE_ROOT, answer)) {
        walk(model, root, iova, access, answer);
    }
}

/* ---- masters ---- */

/* A master that does not exist is a mistake of the test, not of the driver. */
static void check_master(const struct piommu_ipmmu_model *model, size_t unit,
                         unsigned int micro_tlb)
{
    if (unit >= model->unit_count || micro_tlb >= model->units[unit].is.micro_tlbs ||
        (model->units[unit].is_root && model->parameters.generation != PIOMMU_IPMMU_MODEL_GEN2)) {
        (void)fprintf(stderr, "IPMMU model: unit %zu has no micro-TLB %u\n", unit, micro_tlb);
        abort();
    }
}

static void check_erratum(struct piommu_ipmmu_model *model, const struct model_unit *unit,
                          const struct answer *answer)
{
    if (answer->verdict == PIOMMU_IPMMU_MODEL_TRANSLATED && unit->is.has_erratum &&
        !cache_is_off(unit)) {
        piommu_ipmmu_model_violation_(
            model, PIOMMU_IPMMU_MODEL_RULE_ERRATUM,
            "%s: translates, but its TLB has to be switched off for an erratum", unit->is.name);
    }
}

enum piommu_ipmmu_model_verdict piommu_ipmmu_model_dma(struct piommu_ipmmu_model *model,
                                                       size_t number, unsigned int micro_tlb,
                                                       uint64_t iova, bool write,
                                                       uint64_t *physical)
{
    const struct piommu_walker_access access = access_of(write);
    struct model_unit *unit;
    struct answer answer;

    check_master(model, number, micro_tlb);
    unit = &model->units[number];
    model->now++;
    model->notes_unclean = true;
    find(model, unit, micro_tlb, iova, &access, &answer);
    model->notes_unclean = false;
    if (answer.source == SOURCE_WALK) {
        root_of(model, unit)->counters.walks++;
    }
    learn(model, unit, micro_tlb, &answer);
    check_erratum(model, unit, &answer);
    if (answer.status != 0) {
        piommu_ipmmu_model_set_status_(model, root_of(model, unit), answer.context, answer.status,
                                       iova);
    }
    if (answer.verdict == PIOMMU_IPMMU_MODEL_BLOCKED) {
        unit->counters.dma_blocked++;
        return answer.verdict;
    }
    if (answer.verdict == PIOMMU_IPMMU_MODEL_TRANSLATED) {
        unit->counters.dma_translated++;
    } else {
        unit->counters.dma_bypassed++;
    }
    if (physical != NULL) {
        *physical = answer.physical;
    }
    return answer.verdict;
}

enum piommu_ipmmu_model_verdict piommu_ipmmu_model_look(const struct piommu_ipmmu_model *model,
                                                        size_t unit, unsigned int micro_tlb,
                                                        uint64_t iova, bool write,
                                                        uint64_t *physical)
{
    const struct piommu_walker_access access = access_of(write);
    struct answer answer;

    check_master(model, unit, micro_tlb);
    find(model, &model->units[unit], micro_tlb, iova, &access, &answer);
    if (physical != NULL && answer.verdict != PIOMMU_IPMMU_MODEL_BLOCKED) {
        *physical = answer.physical;
    }
    return answer.verdict;
}

struct prefetch {
    struct piommu_ipmmu_model *model;
    size_t unit;
    unsigned int micro_tlb;
};

static void prefetch_one(const struct prefetch *prefetch, uint64_t input)
{
    static const struct piommu_walker_access nothing = {.privileged = true};
    struct model_unit *unit = &prefetch->model->units[prefetch->unit];
    uint64_t iova = input & ((UINT64_C(1) << MODEL_ADDRESS_BITS) - 1);
    struct answer answer;

    find(prefetch->model, unit, prefetch->micro_tlb, iova, &nothing, &answer);
    if (answer.verdict == PIOMMU_IPMMU_MODEL_TRANSLATED || answer.source == SOURCE_WALK) {
        learn(prefetch->model, unit, prefetch->micro_tlb, &answer);
    }
}

static bool prefetch_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    prefetch_one(ctx, leaf->input);
    return true;
}

static bool prefetch_link(void *ctx, const struct piommu_walker_link *link)
{
    prefetch_one(ctx, link->input);
    return true;
}

static void prefetch_half(struct prefetch *prefetch, const struct piommu_walker_regime *regime)
{
    const struct piommu_walker_memory *memory = &prefetch->model->memory;

    piommu_walker_for_each_link(regime, memory, prefetch_link, prefetch);
    piommu_walker_for_each_leaf(regime, memory, prefetch_leaf, prefetch);
}

void piommu_ipmmu_model_prefetch(struct piommu_ipmmu_model *model, size_t number,
                                 unsigned int micro_tlb)
{
    struct prefetch prefetch = {model, number, micro_tlb};
    struct model_regimes regimes;
    uint32_t imuctr;
    unsigned int context;

    check_master(model, number, micro_tlb);
    imuctr = model->units[number].imuctr[micro_tlb];
    context = selected_context(model, imuctr);
    if ((imuctr & IMUCTR_MMUEN) == 0 || context >= model->units[number].is.contexts ||
        !piommu_ipmmu_model_regimes_(model, model->units[number].is.root, context, &regimes)) {
        return;
    }
    model->now++;
    prefetch_half(&prefetch, &regimes.lower);
    if (regimes.has_upper) {
        prefetch_half(&prefetch, &regimes.upper);
    }
}

/* ---- looking inside ---- */

static size_t count_leaves(const struct model_tlb *tlb, unsigned int context)
{
    size_t count = 0;

    for (size_t i = 0; i < tlb->leaf_count; i++) {
        count += tlb->leaves[i].context == context;
    }
    return count;
}

size_t piommu_ipmmu_model_entries(const struct piommu_ipmmu_model *model, size_t number,
                                  unsigned int context)
{
    const struct model_unit *unit = piommu_ipmmu_model_unit_(model, number);
    size_t count;

    piommu_ipmmu_model_check_number_("context", context, PIOMMU_IPMMU_MODEL_MAX_CONTEXTS);
    count = count_leaves(&unit->tlb[context], context) + unit->tlb[context].pointer_count;

    for (unsigned int n = 0; n < unit->is.micro_tlbs; n++) {
        count += count_leaves(&unit->micro_tlb[n], context);
    }
    return count;
}

static bool tlb_reaches(const struct model_tlb *tlb, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < tlb->leaf_count; i++) {
        const struct model_leaf *leaf = &tlb->leaves[i];

        if (overlaps(leaf->output, leaf->output + (leaf->last - leaf->first), first, last)) {
            return true;
        }
    }
    return false;
}

bool piommu_ipmmu_model_leaf_reaches(const struct piommu_ipmmu_model *model, uint64_t physical,
                                     uint64_t size)
{
    for (size_t i = 0; i < model->unit_count && size != 0; i++) {
        const struct model_unit *unit = &model->units[i];

        for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS; n++) {
            if (tlb_reaches(&unit->tlb[n], physical, physical + (size - 1))) {
                return true;
            }
        }
        for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS; n++) {
            if (tlb_reaches(&unit->micro_tlb[n], physical, physical + (size - 1))) {
                return true;
            }
        }
    }
    return false;
}

static bool root_overlaps(const struct piommu_walker_regime *regime, uint64_t first, uint64_t last)
{
    return overlaps(first, last, regime->root, regime->root + piommu_walker_root_size(regime) - 1);
}

static bool context_reaches(const struct piommu_ipmmu_model *model, size_t root,
                            unsigned int context, uint64_t first, uint64_t last)
{
    const struct model_tlb *tlb = &model->units[root].tlb[context];
    struct model_regimes regimes;

    for (size_t i = 0; i < tlb->pointer_count; i++) {
        uint64_t table = tlb->pointers[i].position.table;

        if (overlaps(first, last, table, table + 0xfff)) {
            return true;
        }
    }
    return piommu_ipmmu_model_regimes_(model, root, context, &regimes) &&
           (root_overlaps(&regimes.lower, first, last) ||
            (regimes.has_upper && root_overlaps(&regimes.upper, first, last)));
}

bool piommu_ipmmu_model_table_reaches(const struct piommu_ipmmu_model *model, uint64_t physical,
                                      uint64_t size)
{
    for (size_t i = 0; i < model->unit_count && size != 0; i++) {
        for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS && model->units[i].is_root;
             n++) {
            if (context_reaches(model, i, n, physical, physical + (size - 1))) {
                return true;
            }
        }
    }
    return false;
}
