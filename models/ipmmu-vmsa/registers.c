/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Register accesses: where they go, what they do, and what software should not have done. */

#include "internal.h"

#include <inttypes.h>
#include <string.h>

const char *piommu_ipmmu_model_register_name(enum piommu_ipmmu_model_register which)
{
    static const char *const names[] = {
        [PIOMMU_IPMMU_MODEL_IMCTR] = "IMCTR",
        [PIOMMU_IPMMU_MODEL_IMTTBCR] = "IMTTBCR",
        [PIOMMU_IPMMU_MODEL_IMBUSCR] = "IMBUSCR",
        [PIOMMU_IPMMU_MODEL_IMTTLBR0] = "IMTTLBR0",
        [PIOMMU_IPMMU_MODEL_IMTTUBR0] = "IMTTUBR0",
        [PIOMMU_IPMMU_MODEL_IMTTLBR1] = "IMTTLBR1",
        [PIOMMU_IPMMU_MODEL_IMTTUBR1] = "IMTTUBR1",
        [PIOMMU_IPMMU_MODEL_IMSTR] = "IMSTR",
        [PIOMMU_IPMMU_MODEL_IMMAIR0] = "IMMAIR0",
        [PIOMMU_IPMMU_MODEL_IMMAIR1] = "IMMAIR1",
        [PIOMMU_IPMMU_MODEL_IMELAR] = "IMELAR",
        [PIOMMU_IPMMU_MODEL_IMEUAR] = "IMEUAR",
        [PIOMMU_IPMMU_MODEL_IMUCTR] = "IMUCTR",
        [PIOMMU_IPMMU_MODEL_IMUASID] = "IMUASID",
        [PIOMMU_IPMMU_MODEL_IMSCTLR] = "IMSCTLR",
        [PIOMMU_IPMMU_MODEL_IMSAUXCTLR] = "IMSAUXCTLR",
        [PIOMMU_IPMMU_MODEL_REGISTERS] = "no register",
    };

    return names[which];
}

static uint32_t context_offset(enum piommu_ipmmu_model_class generation, unsigned int context)
{
    uint32_t first = generation == PIOMMU_IPMMU_MODEL_GEN4 ? 0x10000 : 0;
    uint32_t stride = generation == PIOMMU_IPMMU_MODEL_GEN4 ? 0x1040 : 0x40;

    /* The upper eight sit 0x800 behind the lower eight, each in its own page on Gen4. */
    return first + context * stride + (context > 7 ? 0x600 : 0);
}

uint32_t piommu_ipmmu_model_offset(const struct piommu_ipmmu_model *model,
                                   enum piommu_ipmmu_model_register which, unsigned int number)
{
    static const uint8_t in_context[] = {
        [PIOMMU_IPMMU_MODEL_IMCTR] = 0x00,    [PIOMMU_IPMMU_MODEL_IMTTBCR] = 0x08,
        [PIOMMU_IPMMU_MODEL_IMBUSCR] = 0x0c,  [PIOMMU_IPMMU_MODEL_IMTTLBR0] = 0x10,
        [PIOMMU_IPMMU_MODEL_IMTTUBR0] = 0x14, [PIOMMU_IPMMU_MODEL_IMTTLBR1] = 0x18,
        [PIOMMU_IPMMU_MODEL_IMTTUBR1] = 0x1c, [PIOMMU_IPMMU_MODEL_IMSTR] = 0x20,
        [PIOMMU_IPMMU_MODEL_IMMAIR0] = 0x28,  [PIOMMU_IPMMU_MODEL_IMMAIR1] = 0x2c,
        [PIOMMU_IPMMU_MODEL_IMELAR] = 0x30,   [PIOMMU_IPMMU_MODEL_IMEUAR] = 0x34,
    };
    enum piommu_ipmmu_model_class generation = model->parameters.generation;
    uint32_t alias = generation == PIOMMU_IPMMU_MODEL_GEN2 ? 0x800 : 0;
    uint32_t page = generation == PIOMMU_IPMMU_MODEL_GEN4 ? 0x1000 : 0;
    uint32_t micro_tlbs = alias + (generation == PIOMMU_IPMMU_MODEL_GEN4 ? 0x3000 : 0);

    switch (which) {
    case PIOMMU_IPMMU_MODEL_IMUCTR:
    case PIOMMU_IPMMU_MODEL_IMUASID:
        return micro_tlbs + (number < 32 ? 0x300 : 0x600 - 32 * 16) + 16 * number +
               (which == PIOMMU_IPMMU_MODEL_IMUASID ? 8 : 0);
    case PIOMMU_IPMMU_MODEL_IMSCTLR:
        return page + 0x500;
    case PIOMMU_IPMMU_MODEL_IMSAUXCTLR:
        return page + 0x504;
    default:
        return alias + context_offset(generation, number) + in_context[which];
    }
}

uint32_t *piommu_ipmmu_model_register_(struct model_unit *unit,
                                       enum piommu_ipmmu_model_register which, unsigned int number)
{
    switch (which) {
    case PIOMMU_IPMMU_MODEL_IMUCTR:
        return &unit->imuctr[number];
    case PIOMMU_IPMMU_MODEL_IMUASID:
        return &unit->imuasid[number];
    case PIOMMU_IPMMU_MODEL_IMSCTLR:
        return &unit->imsctlr;
    case PIOMMU_IPMMU_MODEL_IMSAUXCTLR:
        return &unit->imsauxctlr;
    default:
        return &unit->context_registers[which][number];
    }
}

/* Of a test that wants to look at a register or to set it. */
static void check_register(enum piommu_ipmmu_model_register which, unsigned int number)
{
    bool is_of_micro_tlb =
        which == PIOMMU_IPMMU_MODEL_IMUCTR || which == PIOMMU_IPMMU_MODEL_IMUASID;

    piommu_ipmmu_model_check_number_("kind of register", which, PIOMMU_IPMMU_MODEL_REGISTERS);
    piommu_ipmmu_model_check_number_(piommu_ipmmu_model_register_name(which), number,
                                     is_of_micro_tlb ? PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS
                                                     : PIOMMU_IPMMU_MODEL_MAX_CONTEXTS);
}

uint32_t piommu_ipmmu_model_get(const struct piommu_ipmmu_model *model, size_t unit,
                                enum piommu_ipmmu_model_register which, unsigned int number)
{
    struct model_unit *inside = piommu_ipmmu_model_unit_(model, unit);
    uint32_t value;

    check_register(which, number);
    value = *piommu_ipmmu_model_register_(inside, which, number);

    if (which == PIOMMU_IPMMU_MODEL_IMCTR && inside->flush[number].is_running) {
        value |= IMCTR_FLUSH;
    }
    return value;
}

/* ---- faults ---- */

void piommu_ipmmu_model_update_interrupt_(struct model_unit *root)
{
    bool line = false;

    for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS && root->is_root; n++) {
        if (is_set(root, PIOMMU_IPMMU_MODEL_IMSTR, n, IMSTR_ERRORS) &&
            is_set(root, PIOMMU_IPMMU_MODEL_IMCTR, n, IMCTR_INTEN)) {
            line = true;
        }
    }
    if (line && !root->interrupt) {
        root->counters.interrupts++;
    }
    root->interrupt = line;
}

bool piommu_ipmmu_model_interrupt(const struct piommu_ipmmu_model *model, size_t root)
{
    const struct model_unit *unit = piommu_ipmmu_model_unit_(model, root);

    return unit->is_on && unit->interrupt;
}

void piommu_ipmmu_model_set_status_(struct piommu_ipmmu_model *model, struct model_unit *root,
                                    unsigned int context, uint32_t status, uint64_t address)
{
    uint32_t *old = &root->context_registers[PIOMMU_IPMMU_MODEL_IMSTR][context];

    root->counters.faults++;
    if ((*old & IMSTR_ERRORS) != 0 && !model->readings.last_fault_wins) {
        *old |= status & IMSTR_ERRORS;
        piommu_ipmmu_model_update_interrupt_(root);
        return;
    }
    if (model->readings.fault_address_is_page) {
        address &= ~UINT64_C(0xfff);
    }
    *old = (*old & IMSTR_ERRORS) | status;
    root->context_registers[PIOMMU_IPMMU_MODEL_IMELAR][context] = (uint32_t)(address & UINT32_MAX);
    root->context_registers[PIOMMU_IPMMU_MODEL_IMEUAR][context] =
        model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN2 ? 0
                                                                : (uint32_t)(address >> 32 & 0xff);
    piommu_ipmmu_model_update_interrupt_(root);
}

void piommu_ipmmu_model_report(struct piommu_ipmmu_model *model, size_t root, unsigned int context,
                               uint32_t status, uint64_t address)
{
    struct model_unit *unit = piommu_ipmmu_model_unit_(model, root);

    piommu_ipmmu_model_check_number_("context", context, PIOMMU_IPMMU_MODEL_MAX_CONTEXTS);
    if (unit->is_on) {
        piommu_ipmmu_model_set_status_(model, unit, context, status, address);
    }
}

/* ---- writes ---- */

/* Notes bits that must not be set; returns the rest. */
static uint32_t allow(struct piommu_ipmmu_model *model, const struct model_unit *unit,
                      enum piommu_ipmmu_model_register which, unsigned int number, uint32_t value,
                      uint32_t allowed)
{
    if ((value & ~allowed) != 0) {
        piommu_ipmmu_model_violation_(
            model, PIOMMU_IPMMU_MODEL_RULE_RESERVED,
            "%s: %s(%u) written with 0x%08" PRIx32 ", reserved bits 0x%08" PRIx32, unit->is.name,
            piommu_ipmmu_model_register_name(which), number, value, value & ~allowed);
    }
    return value & allowed;
}

static bool has_micro_tlbs(const struct piommu_ipmmu_model *model, const struct model_unit *unit)
{
    return !unit->is_root || model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN2;
}

/* A context goes off in a unit, and with a root in all its caches: is a master using it? */
static void check_users(struct piommu_ipmmu_model *model, const struct model_unit *unit,
                        unsigned int context)
{
    for (size_t i = 0; i < model->unit_count; i++) {
        const struct model_unit *user = &model->units[i];

        if (user != unit && (!unit->is_root || root_of(model, user) != unit)) {
            continue;
        }
        for (unsigned int n = 0; n < user->is.micro_tlbs; n++) {
            if ((user->imuctr[n] & IMUCTR_MMUEN) != 0 && !user->micro_tlb_is_left_over[n] &&
                selected_context(model, user->imuctr[n]) == context) {
                piommu_ipmmu_model_violation_(
                    model, PIOMMU_IPMMU_MODEL_RULE_DISABLED,
                    "%s: context %u was disabled, but micro-TLB %u of %s uses it", unit->is.name,
                    context, n, user->is.name);
            }
        }
    }
}

/* Now that a context is enabled in a unit and its root, old entries would be of use again. */
static void check_reuse(struct piommu_ipmmu_model *model, const struct model_unit *unit,
                        unsigned int context)
{
    if (is_set(unit, PIOMMU_IPMMU_MODEL_IMCTR, context, IMCTR_MMUEN) &&
        piommu_ipmmu_model_holds_uncovered_(unit, context)) {
        piommu_ipmmu_model_violation_(
            model, PIOMMU_IPMMU_MODEL_RULE_REUSE,
            "%s: context %u is in use again, with entries that no FLUSH covers", unit->is.name,
            context);
    }
}

static void check_enable(struct piommu_ipmmu_model *model, const struct model_unit *unit,
                         unsigned int context, uint32_t value)
{
    struct model_regimes regimes;
    const char *problem;

    if ((value & IMCTR_FLUSH) == 0) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_FLUSH,
                                      "%s: context %u was enabled without FLUSH", unit->is.name,
                                      context);
    }
    if (unit->is.has_erratum && !cache_is_off(unit)) {
        piommu_ipmmu_model_violation_(
            model, PIOMMU_IPMMU_MODEL_RULE_ERRATUM,
            "%s: context %u was enabled, but the TLB has to be off for an erratum", unit->is.name,
            context);
    }
    if (!unit->is_root) {
        return;
    }
    problem = piommu_ipmmu_model_setup_(model, unit, context, &regimes);
    if (problem != NULL) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_SETUP,
                                      "%s: context %u was enabled with %s", unit->is.name, context,
                                      problem);
    }
}

static void check_reuse_everywhere(struct piommu_ipmmu_model *model, const struct model_unit *unit,
                                   unsigned int context)
{
    for (size_t i = 0; i < model->unit_count; i++) {
        const struct model_unit *other = &model->units[i];

        if (other == unit || (unit->is_root && root_of(model, other) == unit)) {
            check_reuse(model, other, context);
        }
    }
}

static bool is_enabled_by_software(const struct model_unit *unit, unsigned int context)
{
    return is_set(unit, PIOMMU_IPMMU_MODEL_IMCTR, context, IMCTR_MMUEN) &&
           !unit->is_left_over[context];
}

static void write_imctr(struct piommu_ipmmu_model *model, struct model_unit *unit,
                        unsigned int context, uint32_t value)
{
    bool is_root_with_va64 =
        unit->is_root && model->parameters.generation != PIOMMU_IPMMU_MODEL_GEN2;
    uint32_t allowed =
        IMCTR_MMUEN | IMCTR_FLUSH | IMCTR_INTEN | (is_root_with_va64 ? IMCTR_VA64 : 0);
    uint32_t *old = &unit->context_registers[PIOMMU_IPMMU_MODEL_IMCTR][context];
    /* What firmware has enabled is as good as nothing: software has not set it up. */
    bool was_enabled = is_enabled_by_software(unit, context);
    bool is_enabled = (value & IMCTR_MMUEN) != 0;
    uint32_t changed;

    value = allow(model, unit, PIOMMU_IPMMU_MODEL_IMCTR, context, value, allowed);
    changed = *old ^ value;
    if (was_enabled && is_enabled && (changed & IMCTR_VA64) != 0) {
        piommu_ipmmu_model_violation_(
            model, PIOMMU_IPMMU_MODEL_RULE_LIVE,
            "%s: VA64 of context %u was changed while the context is enabled", unit->is.name,
            context);
    }
    if ((*old & ~value & IMCTR_MMUEN) != 0) {
        check_users(model, unit, context);
    }
    unit->is_left_over[context] = false;
    *old = value & ~IMCTR_FLUSH;
    if (is_enabled && !was_enabled) {
        check_enable(model, unit, context, value);
    }
    if ((value & IMCTR_FLUSH) != 0) {
        piommu_ipmmu_model_begin_flush_(model, unit, context);
    } else if (!model->readings.flush_survives_writes) {
        unit->flush[context].is_running = false;
    }
    if (is_enabled && !was_enabled &&
        is_set(root_of(model, unit), PIOMMU_IPMMU_MODEL_IMCTR, context, IMCTR_MMUEN)) {
        check_reuse_everywhere(model, unit, context);
    }
    piommu_ipmmu_model_update_interrupt_(unit);
}

static void write_table_register(struct piommu_ipmmu_model *model, struct model_unit *unit,
                                 enum piommu_ipmmu_model_register which, unsigned int context,
                                 uint32_t value)
{
    uint32_t *old = &unit->context_registers[which][context];

    if (*old != value && is_enabled_by_software(unit, context)) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_LIVE,
                                      "%s: %s(%u) was changed while the context is enabled",
                                      unit->is.name, piommu_ipmmu_model_register_name(which),
                                      context);
    }
    *old = value;
}

static void write_imttbcr(struct piommu_ipmmu_model *model, struct model_unit *unit,
                          unsigned int context, uint32_t value)
{
    uint32_t allowed = BITS(31, 24) | BITS(20, 16) | BITS(13, 8);

    /* SL0 and TSZ0. */
    allowed |= model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN2 ? BITS(4, 4) | BITS(2, 0)
                                                                       : BITS(7, 6) | BITS(4, 0);
    if (model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN2) {
        allowed &= ~(IMTTBCR_PMB | BITS(20, 19));
    }
    if ((value >> 12 & 3) == 1 || (value >> 28 & 3) == 1) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_RESERVED,
                                      "%s: IMTTBCR(%u) written with 0x%08" PRIx32
                                      ", a reserved shareability",
                                      unit->is.name, context, value);
    }
    write_table_register(model, unit, PIOMMU_IPMMU_MODEL_IMTTBCR, context,
                         allow(model, unit, PIOMMU_IPMMU_MODEL_IMTTBCR, context, value, allowed));
}

/* DVM and BUSSEL have to be clear; what the other bits are is not known, so they stay. */
static void write_imbuscr(struct piommu_ipmmu_model *model, struct model_unit *unit,
                          unsigned int context, uint32_t value)
{
    uint32_t old = unit->context_registers[PIOMMU_IPMMU_MODEL_IMBUSCR][context];

    allow(model, unit, PIOMMU_IPMMU_MODEL_IMBUSCR, context, value & IMBUSCR_SELECTION, 0);
    if (((old ^ value) & ~IMBUSCR_SELECTION) != 0) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_RESERVED,
                                      "%s: IMBUSCR(%u) written with 0x%08" PRIx32
                                      ", unknown bits were 0x%08" PRIx32,
                                      unit->is.name, context, value, old & ~IMBUSCR_SELECTION);
    }
    write_table_register(model, unit, PIOMMU_IPMMU_MODEL_IMBUSCR, context, value);
}

static void write_imstr(struct piommu_ipmmu_model *model, struct model_unit *unit,
                        unsigned int context, uint32_t value)
{
    uint32_t *old = &unit->context_registers[PIOMMU_IPMMU_MODEL_IMSTR][context];

    if (value != 0) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_STATUS,
                                      "%s: IMSTR(%u) written with 0x%08" PRIx32, unit->is.name,
                                      context, value);
        if (model->readings.status_write_all_or_nothing) {
            return;
        }
    }
    *old &= value;
    if ((*old & IMSTR_ERRORS) == 0) {
        unit->context_registers[PIOMMU_IPMMU_MODEL_IMELAR][context] = 0;
        unit->context_registers[PIOMMU_IPMMU_MODEL_IMEUAR][context] = 0;
    }
    piommu_ipmmu_model_update_interrupt_(unit);
}

static void check_selected(struct piommu_ipmmu_model *model, struct model_unit *unit,
                           unsigned int micro_tlb, uint32_t value)
{
    unsigned int context = selected_context(model, value);

    if (context >= unit->is.contexts) {
        piommu_ipmmu_model_violation_(
            model, PIOMMU_IPMMU_MODEL_RULE_SELECT, "%s: IMUCTR(%u) selects context %u%s",
            unit->is.name, micro_tlb, context,
            context == 8 && unit->is.contexts <= 8 ? ", which is the PMB" : "");
        return;
    }
    if ((value & IMUCTR_MMUEN) == 0) {
        return;
    }
    if (!is_enabled_by_software(unit, context) ||
        !is_enabled_by_software(root_of(model, unit), context)) {
        piommu_ipmmu_model_violation_(
            model, PIOMMU_IPMMU_MODEL_RULE_DISABLED,
            "%s: IMUCTR(%u) enables the micro-TLB on context %u, which is disabled", unit->is.name,
            micro_tlb, context);
    }
}

static void write_imuctr(struct piommu_ipmmu_model *model, struct model_unit *unit,
                         unsigned int micro_tlb, uint32_t value)
{
    bool is_gen4 = model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN4;
    uint32_t allowed = IMUCTR_MMUEN | IMUCTR_FLUSH | (is_gen4 ? BITS(8, 4) : BITS(7, 4));

    value = allow(model, unit, PIOMMU_IPMMU_MODEL_IMUCTR, micro_tlb, value, allowed);
    check_selected(model, unit, micro_tlb, value);
    if ((value & IMUCTR_FLUSH) != 0) {
        unit->counters.micro_tlb_flushes++;
        piommu_ipmmu_model_drop_micro_tlb_(unit, micro_tlb);
        if (!model->readings.micro_tlb_flush_reads_back) {
            value &= ~IMUCTR_FLUSH;
        }
    }
    unit->micro_tlb_is_left_over[micro_tlb] = false;
    unit->imuctr[micro_tlb] = value;
}

static bool has_enabled_context(const struct model_unit *unit)
{
    for (unsigned int n = 0; n < unit->is.contexts; n++) {
        if (is_set(unit, PIOMMU_IPMMU_MODEL_IMCTR, n, IMCTR_MMUEN)) {
            return true;
        }
    }
    return false;
}

static void write_imsctlr(struct piommu_ipmmu_model *model, struct model_unit *unit, uint32_t value)
{
    uint32_t changed = unit->imsctlr ^ value;
    uint32_t switched = unit->is_root ? 0 : changed & IMSCTLR_DISCACHE;

    if ((changed & ~(IMSCTLR_SECGRP | switched)) != 0 ||
        (switched != 0 && (value & IMSCTLR_DISCACHE) != IMSCTLR_DISCACHE)) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_FIRMWARE,
                                      "%s: IMSCTLR written with 0x%08" PRIx32
                                      ", it was 0x%08" PRIx32,
                                      unit->is.name, value, unit->imsctlr);
    }
    if ((changed & value & IMSCTLR_SECGRP) != 0) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_RESERVED,
                                      "%s: IMSCTLR: USE_SECGRP was set", unit->is.name);
    }
    if (switched != 0 && has_enabled_context(unit)) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_ERRATUM,
                                      "%s: the TLB was switched off while a context is enabled",
                                      unit->is.name);
    }
    if (switched != 0) {
        piommu_ipmmu_model_drop_all_(unit);
    }
    unit->imsctlr = value;
}

static void write_imsauxctlr(struct piommu_ipmmu_model *model, struct model_unit *unit,
                             uint32_t value)
{
    uint32_t changed = unit->imsauxctlr ^ value;

    if ((changed & ~IMSAUXCTLR_S2PTE) != 0) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_FIRMWARE,
                                      "%s: IMSAUXCTLR written with 0x%08" PRIx32
                                      ", it was 0x%08" PRIx32,
                                      unit->is.name, value, unit->imsauxctlr);
    }
    if ((changed & IMSAUXCTLR_S2PTE) != 0 && has_enabled_context(unit)) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_STAGE2,
                                      "%s: S2PTE was changed while a context is enabled",
                                      unit->is.name);
    }
    if ((value & IMSAUXCTLR_S2PTE) != 0 && !model->has_stage2) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_STAGE2,
                                      "%s: S2PTE was set, but product 0x%04" PRIx32
                                      " has no stage 2",
                                      unit->is.name, model->parameters.product);
        value &= ~IMSAUXCTLR_S2PTE;
    }
    unit->imsauxctlr = value;
}

static void write_register(struct piommu_ipmmu_model *model, struct model_unit *unit,
                           enum piommu_ipmmu_model_register which, unsigned int number,
                           uint32_t value)
{
    switch (which) {
    case PIOMMU_IPMMU_MODEL_IMCTR:
        write_imctr(model, unit, number, value);
        break;
    case PIOMMU_IPMMU_MODEL_IMTTBCR:
        write_imttbcr(model, unit, number, value);
        break;
    case PIOMMU_IPMMU_MODEL_IMBUSCR:
        write_imbuscr(model, unit, number, value);
        break;
    case PIOMMU_IPMMU_MODEL_IMTTLBR0:
    case PIOMMU_IPMMU_MODEL_IMTTLBR1:
        write_table_register(model, unit, which, number,
                             allow(model, unit, which, number, value, BITS(31, 12)));
        break;
    case PIOMMU_IPMMU_MODEL_IMTTUBR0:
    case PIOMMU_IPMMU_MODEL_IMTTUBR1:
        write_table_register(model, unit, which, number,
                             allow(model, unit, which, number, value, BITS(7, 0)));
        break;
    case PIOMMU_IPMMU_MODEL_IMMAIR0:
    case PIOMMU_IPMMU_MODEL_IMMAIR1:
        write_table_register(model, unit, which, number, value);
        break;
    case PIOMMU_IPMMU_MODEL_IMSTR:
        write_imstr(model, unit, number, value);
        break;
    case PIOMMU_IPMMU_MODEL_IMUCTR:
        write_imuctr(model, unit, number, value);
        break;
    case PIOMMU_IPMMU_MODEL_IMUASID:
        /* Address space identifiers are not modelled. */
        unit->imuasid[number] = allow(model, unit, which, number, value, 0);
        break;
    case PIOMMU_IPMMU_MODEL_IMSCTLR:
        write_imsctlr(model, unit, value);
        break;
    case PIOMMU_IPMMU_MODEL_IMSAUXCTLR:
        write_imsauxctlr(model, unit, value);
        break;
    case PIOMMU_IPMMU_MODEL_IMELAR:
    case PIOMMU_IPMMU_MODEL_IMEUAR:
    case PIOMMU_IPMMU_MODEL_REGISTERS:
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_RESERVED,
                                      "%s: %s(%u) was written", unit->is.name,
                                      piommu_ipmmu_model_register_name(which), number);
        break;
    }
}

/* ---- accesses ---- */

static struct model_unit *unit_at(const struct piommu_ipmmu_model *model, uint64_t physical)
{
    for (size_t i = 0; i < model->unit_count; i++) {
        if (physical >= model->units[i].is.base &&
            physical - model->units[i].is.base < piommu_ipmmu_model_size(model)) {
            return &model->units[i];
        }
    }
    return NULL;
}

/* Does the unit have what lies there? Notes it if not. */
static bool exists(struct piommu_ipmmu_model *model, const struct model_unit *unit, uint32_t offset,
                   struct model_place place, const char *access)
{
    enum piommu_ipmmu_model_register which = (enum piommu_ipmmu_model_register)place.which;
    bool is_of_micro_tlb =
        which == PIOMMU_IPMMU_MODEL_IMUCTR || which == PIOMMU_IPMMU_MODEL_IMUASID;
    const char *name = piommu_ipmmu_model_register_name(which);

    if (which == PIOMMU_IPMMU_MODEL_REGISTERS) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN,
                                      "%s: %s at offset 0x%" PRIx32 ", where there is nothing",
                                      unit->is.name, access, offset);
        return false;
    }
    if (is_of_micro_tlb ? !has_micro_tlbs(model, unit)
                        : !unit->is_root && which != PIOMMU_IPMMU_MODEL_IMCTR &&
                              which != PIOMMU_IPMMU_MODEL_IMSCTLR) {
        piommu_ipmmu_model_violation_(
            model, PIOMMU_IPMMU_MODEL_RULE_PLACE, "%s: %s of %s(%u), which is not for a %s",
            unit->is.name, access, name, place.number, unit->is_root ? "root" : "cache unit");
        return false;
    }
    if (place.number >= (is_of_micro_tlb ? unit->is.micro_tlbs : unit->is.contexts)) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_NUMBER,
                                      "%s: %s of %s(%u), which does not exist", unit->is.name,
                                      access, name, place.number);
        return false;
    }
    return true;
}

/* The unit, if the access reaches a register of it. */
static struct model_unit *reach(struct piommu_ipmmu_model *model, uint64_t physical,
                                unsigned int width, const char *access, struct model_place *place)
{
    struct model_unit *unit = unit_at(model, physical);
    uint32_t offset;

    if (unit == NULL) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN,
                                      "%s at 0x%" PRIx64 ", where no unit is", access, physical);
        return NULL;
    }
    offset = (uint32_t)(physical - unit->is.base);
    if (!unit->is_on) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_POWER,
                                      "%s: %s at offset 0x%" PRIx32 " without power", unit->is.name,
                                      access, offset);
        return NULL;
    }
    if (width != 4 || (offset & 3) != 0) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_WIDTH,
                                      "%s: %s of %u bytes at offset 0x%" PRIx32, unit->is.name,
                                      access, width, offset);
        return NULL;
    }
    *place = model->map[offset / 4];
    return exists(model, unit, offset, *place, access) ? unit : NULL;
}

static void tell(struct piommu_ipmmu_model *model, const struct model_unit *unit,
                 struct model_place place, uint32_t value, bool is_write)
{
    const struct piommu_ipmmu_model_access access = {
        .unit = (size_t)(unit - model->units),
        .which = (enum piommu_ipmmu_model_register)place.which,
        .number = place.number,
        .offset = piommu_ipmmu_model_offset(model, (enum piommu_ipmmu_model_register)place.which,
                                            place.number),
        .value = value,
        .is_write = is_write,
    };

    if (model->is_recording) {
        if (model->recorded == model->recording_room) {
            model->recording = piommu_ipmmu_model_grow_(model->recording, &model->recording_room,
                                                        sizeof(*model->recording));
        }
        model->recording[model->recorded++] = access;
    }
    if (model->observer != NULL && !model->is_observing) {
        model->is_observing = true;
        model->observer(model->observer_ctx, &access);
        model->is_observing = false;
    }
}

uint32_t piommu_ipmmu_model_read(struct piommu_ipmmu_model *model, uint64_t physical,
                                 unsigned int width)
{
    struct model_unit *unit;
    struct model_place place;
    uint32_t value;

    if (physical == piommu_ipmmu_model_product_address(model) && width == 4) {
        return model->parameters.product;
    }
    model->now++;
    unit = reach(model, physical, width, "read", &place);
    if (unit == NULL) {
        return 0;
    }
    value = piommu_ipmmu_model_get(model, (size_t)(unit - model->units),
                                   (enum piommu_ipmmu_model_register)place.which, place.number);
    unit->counters.reads++;
    if (place.which == PIOMMU_IPMMU_MODEL_IMCTR) {
        piommu_ipmmu_model_poll_flush_(model, unit, place.number);
    }
    tell(model, unit, place, value, false);
    return value;
}

void piommu_ipmmu_model_write(struct piommu_ipmmu_model *model, uint64_t physical,
                              unsigned int width, uint32_t value)
{
    struct model_unit *unit;
    struct model_place place;

    model->now++;
    unit = reach(model, physical, width, "write", &place);
    if (unit == NULL) {
        return;
    }
    if (!unit->is_root && !root_of(model, unit)->was_written) {
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_ROOT_FIRST,
                                      "%s: was written before its root %s", unit->is.name,
                                      root_of(model, unit)->is.name);
    }
    unit->was_written = true;
    unit->counters.writes++;
    unit->writes[place.which]++;
    write_register(model, unit, (enum piommu_ipmmu_model_register)place.which, place.number, value);
    tell(model, unit, place, value, true);
}

/* ---- what firmware left ---- */

void piommu_ipmmu_model_set(struct piommu_ipmmu_model *model, size_t unit,
                            enum piommu_ipmmu_model_register which, unsigned int number,
                            uint32_t value)
{
    struct model_unit *inside = piommu_ipmmu_model_unit_(model, unit);

    check_register(which, number);
    if (which == PIOMMU_IPMMU_MODEL_IMCTR) {
        value &= ~IMCTR_FLUSH;
        inside->is_left_over[number] = true;
    }
    if (which == PIOMMU_IPMMU_MODEL_IMUCTR) {
        inside->micro_tlb_is_left_over[number] = true;
    }
    *piommu_ipmmu_model_register_(inside, which, number) = value;
    piommu_ipmmu_model_update_interrupt_(inside);
}

static void litter_context(struct piommu_ipmmu_model *model, size_t unit, unsigned int context,
                           uint32_t *random)
{
    for (unsigned int which = 0; which < PIOMMU_IPMMU_MODEL_IMUCTR; which++) {
        *random = *random * UINT32_C(1664525) + UINT32_C(1013904223);
        if (which == PIOMMU_IPMMU_MODEL_IMCTR || model->units[unit].is_root) {
            piommu_ipmmu_model_set(model, unit, (enum piommu_ipmmu_model_register)which, context,
                                   *random ^ *random >> 16);
        }
    }
}

void piommu_ipmmu_model_litter(struct piommu_ipmmu_model *model, uint32_t seed)
{
    uint32_t random = seed;

    for (size_t i = 0; i < model->unit_count; i++) {
        struct model_unit *unit = &model->units[i];

        if (!unit->is_on) {
            continue;
        }
        for (unsigned int n = 0; n < unit->is.contexts; n++) {
            litter_context(model, i, n, &random);
        }
        for (unsigned int n = 0; n < unit->is.micro_tlbs && has_micro_tlbs(model, unit); n++) {
            random = random * UINT32_C(1664525) + UINT32_C(1013904223);
            piommu_ipmmu_model_set(model, i, PIOMMU_IPMMU_MODEL_IMUCTR, n,
                                   (random ^ random >> 16) & ~IMUCTR_FLUSH);
            piommu_ipmmu_model_set(model, i, PIOMMU_IPMMU_MODEL_IMUASID, n, random >> 16);
        }
        if (model->parameters.generation != PIOMMU_IPMMU_MODEL_GEN2) {
            random = random * UINT32_C(1664525) + UINT32_C(1013904223);
            unit->imsctlr = random ^ random >> 16;
            unit->imsauxctlr = unit->is_root ? random : 0;
        }
    }
}
