/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What the registers of a context say about its tables, and whether that fits together. */

#include "internal.h"

#include <string.h>

/* Of IMTTLBR0 and IMTTUBR0, or IMTTLBR1 and IMTTUBR1. */
static uint64_t table_base(const struct model_unit *root, unsigned int context,
                           enum piommu_ipmmu_model_register low_word,
                           enum piommu_ipmmu_model_register high_word)
{
    uint64_t low = root->context_registers[low_word][context] & BITS(31, 12);
    uint64_t high = root->context_registers[high_word][context] & BITS(7, 0);

    return high << 32 | low;
}

/* Level, or -1. */
static int start_level(const struct piommu_ipmmu_model *model, uint32_t control, unsigned int stage)
{
    unsigned int sl0 = control >> 6 & 3;

    if (model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN2) {
        return (control >> 4 & 1) != 0 ? 1 : 2;
    }
    if (stage == 1 || model->readings.stage2_start == PIOMMU_IPMMU_MODEL_STAGE2_START_2) {
        return sl0 == 3 ? -1 : 3 - (int)sl0;
    }
    return sl0 > 1 ? -1 : 2 - (int)sl0;
}

static void make_regime(const struct piommu_ipmmu_model *model, const struct model_unit *root,
                        unsigned int context, struct piommu_walker_regime *regime)
{
    uint32_t control = root->context_registers[PIOMMU_IPMMU_MODEL_IMTTBCR][context];
    bool is_long = is_set(root, PIOMMU_IPMMU_MODEL_IMCTR, context, IMCTR_VA64);

    memset(regime, 0, sizeof(*regime));
    regime->format = is_long ? PIOMMU_WALKER_FORMAT_AARCH64 : PIOMMU_WALKER_FORMAT_AARCH32;
    regime->hardware.physical_bits = MODEL_ADDRESS_BITS;
    regime->stage = (control & IMTTBCR_PMB) != 0 ? 2 : 1;
    regime->granule_shift = 12;
    regime->input_bits = is_long ? 64 - (control & 0x1f) : 32 - (control & 7);
    regime->output_bits = MODEL_ADDRESS_BITS;
    regime->start_level = start_level(model, control, regime->stage);
    regime->root =
        table_base(root, context, PIOMMU_IPMMU_MODEL_IMTTLBR0, PIOMMU_IPMMU_MODEL_IMTTUBR0);
    regime->mair = root->context_registers[PIOMMU_IPMMU_MODEL_IMMAIR0][context] |
                   (uint64_t)root->context_registers[PIOMMU_IPMMU_MODEL_IMMAIR1][context] << 32;
    regime->mair_slots_in_use = 0xff;
    regime->walk_inner_cacheability = control >> 8 & 3;
    regime->walk_outer_cacheability = control >> 10 & 3;
    regime->walk_shareability = control >> 12 & 3;
}

/* The other half of 64-bit stage 1. There is no SL1: its size says where it starts. */
static void make_upper_regime(const struct model_unit *root, unsigned int context,
                              struct model_regimes *regimes)
{
    uint32_t control = root->context_registers[PIOMMU_IPMMU_MODEL_IMTTBCR][context];
    struct piommu_walker_regime *upper = &regimes->upper;

    *upper = regimes->lower;
    upper->is_upper_half = true;
    upper->input_bits = 64 - (control >> 16 & 0x1f);
    upper->start_level = 3 - (int)((upper->input_bits - 13) / 9);
    upper->root =
        table_base(root, context, PIOMMU_IPMMU_MODEL_IMTTLBR1, PIOMMU_IPMMU_MODEL_IMTTUBR1);
    upper->walk_inner_cacheability = control >> 24 & 3;
    upper->walk_outer_cacheability = control >> 26 & 3;
    upper->walk_shareability = control >> 28 & 3;
}

/* What of the settings is wrong whatever the tables are. */
static const char *wrong_mode(const struct piommu_ipmmu_model *model, const struct model_unit *root,
                              unsigned int context)
{
    uint32_t control = root->context_registers[PIOMMU_IPMMU_MODEL_IMTTBCR][context];
    bool is_long = is_set(root, PIOMMU_IPMMU_MODEL_IMCTR, context, IMCTR_VA64);
    bool has_s2pte = (root->imsauxctlr & IMSAUXCTLR_S2PTE) != 0;
    bool is_gen2 = model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN2;

    if ((control & IMTTBCR_EAE) == 0) {
        return "EAE is clear";
    }
    if ((control & IMTTBCR_PMB) != 0 && !is_long) {
        return "stage 2 without VA64";
    }
    if ((control & IMTTBCR_PMB) != 0 && !has_s2pte) {
        return "stage 2 without S2PTE";
    }
    if ((control & IMTTBCR_PMB) == 0 && has_s2pte && model->readings.s2pte_for_all) {
        return "stage 1 with S2PTE";
    }
    /* On Gen2 bits 5:4 are SL0, and VA64 does not exist. */
    if (!is_long && (control & (is_gen2 ? 8 : 0x18)) != 0) {
        return "TSZ0 above 7 without VA64";
    }
    if (is_set(root, PIOMMU_IPMMU_MODEL_IMBUSCR, context, IMBUSCR_SELECTION) && is_gen2) {
        return "DVM or BUSSEL in IMBUSCR";
    }
    if (!is_long && (control >> 16 & 0x1f) != 0) {
        return "TSZ1, which is not modelled without VA64";
    }
    return NULL;
}

const char *piommu_ipmmu_model_setup_(const struct piommu_ipmmu_model *model,
                                      const struct model_unit *root, unsigned int context,
                                      struct model_regimes *regimes)
{
    const char *problem = wrong_mode(model, root, context);
    enum piommu_walker_setup setup = PIOMMU_WALKER_SETUP_START_LEVEL;

    if (problem != NULL) {
        return problem;
    }
    make_regime(model, root, context, &regimes->lower);
    if (regimes->lower.start_level >= 0) {
        setup = piommu_walker_validate(&regimes->lower);
    }
    regimes->has_upper = regimes->lower.format == PIOMMU_WALKER_FORMAT_AARCH64 &&
                         regimes->lower.stage == 1 && !model->readings.upper_half_faults;
    if (setup == PIOMMU_WALKER_SETUP_OK && regimes->has_upper) {
        make_upper_regime(root, context, regimes);
        /* There are three levels at most, and from 33 to 39 bits nothing else can be wrong. */
        if (regimes->upper.start_level < 1) {
            return "a TSZ1 that is not possible";
        }
    }
    return setup == PIOMMU_WALKER_SETUP_OK ? NULL : piommu_walker_setup_name(setup);
}

bool piommu_ipmmu_model_regimes_(const struct piommu_ipmmu_model *model, size_t root,
                                 unsigned int context, struct model_regimes *regimes)
{
    const struct model_unit *unit = piommu_ipmmu_model_unit_(model, root);

    piommu_ipmmu_model_check_number_("context", context, PIOMMU_IPMMU_MODEL_MAX_CONTEXTS);
    return unit->is_on && unit->is_root &&
           is_set(unit, PIOMMU_IPMMU_MODEL_IMCTR, context, IMCTR_MMUEN) &&
           piommu_ipmmu_model_setup_(model, unit, context, regimes) == NULL;
}

bool piommu_ipmmu_model_regime(const struct piommu_ipmmu_model *model, size_t root,
                               unsigned int context, struct piommu_walker_regime *regime)
{
    struct model_regimes regimes;

    if (!piommu_ipmmu_model_regimes_(model, root, context, &regimes)) {
        return false;
    }
    *regime = regimes.lower;
    return true;
}
